// Command podman-client pushes and pulls with containers/image and containers/storage, as podman, buildah and CRI-O do.
//
//	podman-client push LAYOUT:TAG REFERENCE
//	podman-client pull REFERENCE FOLDER
//	podman-client save REFERENCE LAYOUT:TAG
//	podman-client copy REFERENCE REFERENCE
//	podman-client delete REFERENCE
//	podman-client login REGISTRY USER
//
// `push` compresses the layers as zstd:chunked. `pull` brings the image into the storage at FOLDER, and fetches only
// the files that the storage lacks. It prints the files of the image, each with the SHA-256 of its content. It must run
// as root, because it makes overlay mounts. `login` reads the password from stdin, and keeps it in REGISTRY_AUTH_FILE.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/signature"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/reexec"
)

func main() {
	// The storage unpacks layers in a separate process, which is this program again.
	if reexec.Init() {
		return
	}
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "podman-client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "push":
		return push(ctx, arguments[1], arguments[2])
	case len(arguments) == 3 && arguments[0] == "pull":
		return pull(ctx, arguments[1], arguments[2])
	case len(arguments) == 3 && arguments[0] == "save":
		return save(ctx, arguments[1], arguments[2])
	case len(arguments) == 3 && arguments[0] == "copy":
		return copyRemote(ctx, arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "delete":
		return remove(ctx, arguments[1])
	case len(arguments) == 3 && arguments[0] == "login":
		return login(ctx, arguments[1], arguments[2])
	}
	return fmt.Errorf("unknown arguments %q", arguments)
}

func push(ctx context.Context, source, reference string) error {
	from, err := layout.ParseReference(source)
	if err != nil {
		return err
	}
	to, err := docker.ParseReference("//" + reference)
	if err != nil {
		return err
	}
	system := *insecure()
	system.CompressionFormat = &compression.ZstdChunked
	return copyImage(ctx, to, from, &copy.Options{DestinationCtx: &system, ForceCompressionFormat: true})
}

func pull(ctx context.Context, reference, folder string) error {
	store, err := storage.GetStore(storage.StoreOptions{
		RunRoot:         filepath.Join(folder, "run"),
		GraphRoot:       filepath.Join(folder, "graph"),
		GraphDriverName: "overlay",
		// Otherwise the folder would stay mounted.
		GraphDriverOptions: []string{"overlay.skip_mount_home=true"},
		PullOptions:        map[string]string{"enable_partial_images": "true"},
	})
	if err != nil {
		return err
	}
	defer store.Shutdown(true)
	from, err := docker.ParseReference("//" + reference)
	if err != nil {
		return err
	}
	to, err := istorage.Transport.NewStoreReference(store, from.DockerReference(), "")
	if err != nil {
		return err
	}
	if err := copyImage(ctx, to, from, &copy.Options{SourceCtx: insecure()}); err != nil {
		return err
	}
	image, err := istorage.Transport.GetStoreImage(store, to)
	if err != nil {
		return err
	}
	mounted, err := store.MountImage(image.ID, nil, "")
	if err != nil {
		return err
	}
	defer store.UnmountImage(image.ID, true)
	digests, err := files(mounted)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(digests)
}

func save(ctx context.Context, reference, target string) error {
	from, err := docker.ParseReference("//" + reference)
	if err != nil {
		return err
	}
	to, err := layout.ParseReference(target)
	if err != nil {
		return err
	}
	return copyImage(ctx, to, from, &copy.Options{SourceCtx: insecure()})
}

func copyRemote(ctx context.Context, source, target string) error {
	from, err := docker.ParseReference("//" + source)
	if err != nil {
		return err
	}
	to, err := docker.ParseReference("//" + target)
	if err != nil {
		return err
	}
	return copyImage(ctx, to, from, &copy.Options{SourceCtx: insecure(), DestinationCtx: insecure()})
}

func remove(ctx context.Context, reference string) error {
	image, err := docker.ParseReference("//" + reference)
	if err != nil {
		return err
	}
	return image.DeleteImage(ctx, insecure())
}

func login(ctx context.Context, registry, user string) error {
	password, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if err := docker.CheckAuth(ctx, insecure(), user, string(password), registry); err != nil {
		return err
	}
	return config.SetAuthentication(insecure(), registry, user, string(password))
}

func copyImage(ctx context.Context, to, from types.ImageReference, options *copy.Options) error {
	trust, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer trust.Destroy()
	_, err = copy.Image(ctx, trust, to, from, options)
	return err
}

func insecure() *types.SystemContext {
	return &types.SystemContext{
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		AuthFilePath:                os.Getenv("REGISTRY_AUTH_FILE"),
		// It remembers which repository has a blob, so that a copy can mount it.
		BlobInfoCacheDir: os.Getenv("HOME"),
	}
}

func files(root string) (map[string]string, error) {
	digests := map[string]string{}
	return digests, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		digest := sha256.Sum256(content)
		digests[name] = hex.EncodeToString(digest[:])
		return err
	})
}
