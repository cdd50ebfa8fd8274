// Command buildkit-client exports a build cache to a registry and imports it with BuildKit's packages, as
// `buildctl build --export-cache type=registry,... --import-cache type=registry,...` does.
//
//	buildkit-client export index|docker|manifest REFERENCE FILE...
//	buildkit-client import REFERENCE FOLDER
//
// The cache has one build step, whose result has each FILE as a layer. It is exported as an OCI index, as a Docker
// list, or as an image. `import` finds the step and writes its layers as files named by digest.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/worker"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The build step whose result is cached. Its definition determines its digest.
var step = digest.FromString("RUN make")

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "buildkit-client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) > 3 && arguments[0] == "export":
		return exportCache(ctx, arguments[1], arguments[2], arguments[3:])
	case len(arguments) == 3 && arguments[0] == "import":
		return importCache(ctx, arguments[1], arguments[2])
	}
	return fmt.Errorf("unknown arguments %q", arguments)
}

func exportCache(ctx context.Context, form, reference string, files []string) error {
	layers, err := asLayers(ctx, files)
	if err != nil {
		return err
	}
	sessions, err := session.NewManager()
	if err != nil {
		return err
	}
	attributes := attributes(reference)
	attributes["oci-mediatypes"] = strconv.FormatBool(form != "docker")
	attributes["image-manifest"] = strconv.FormatBool(form == "manifest")
	resolve := registry.ResolveCacheExporterFunc(sessions, docker.ConfigureDefaultRegistries())
	exporter, err := resolve(ctx, session.NewGroup(), attributes)
	if err != nil {
		return err
	}
	key := digest.FromString(fmt.Sprintf("%s@%d", step, 0))
	results := []solver.CacheExportResult{{CreatedAt: time.Unix(0, 0), Result: layers}}
	if _, _, err := exporter.Add(key, nil, results); err != nil {
		return err
	}
	_, err = exporter.Finalize(ctx)
	return err
}

func importCache(ctx context.Context, reference, folder string) error {
	store, err := local.NewStore(filepath.Join(folder, "store"))
	if err != nil {
		return err
	}
	sessions, err := session.NewManager()
	if err != nil {
		return err
	}
	resolve := registry.ResolveCacheImporterFunc(sessions, store, docker.ConfigureDefaultRegistries())
	importer, descriptor, err := resolve(ctx, session.NewGroup(), attributes(reference))
	if err != nil {
		return err
	}
	manager, err := importer.Resolve(ctx, descriptor, "imported", &writer{folder: folder})
	if err != nil {
		return err
	}
	keys, err := manager.Query(nil, 0, step, 0)
	if err != nil {
		return err
	}
	for _, key := range keys {
		records, err := manager.Records(ctx, key)
		if err != nil {
			return err
		}
		for _, record := range records {
			if _, err := manager.Load(ctx, record); !errors.Is(err, errWritten) {
				return fmt.Errorf("the result was not loaded: %w", err)
			}
			return nil
		}
	}
	return errors.New("the cache does not have the step")
}

func attributes(reference string) map[string]string {
	return map[string]string{"ref": reference, "registry.insecure": "true"}
}

func asLayers(ctx context.Context, files []string) (*solver.Remote, error) {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, err
	}
	store, err := local.NewStore(folder)
	if err != nil {
		return nil, err
	}
	layers := &solver.Remote{Provider: store}
	for _, file := range files {
		bytes, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		layer := ocispec.Descriptor{
			MediaType:   ocispec.MediaTypeImageLayerGzip,
			Digest:      digest.FromBytes(bytes),
			Size:        int64(len(bytes)),
			Annotations: map[string]string{labels.LabelUncompressed: digest.FromString(file).String()},
		}
		writer, err := content.OpenWriter(ctx, store, content.WithRef(file), content.WithDescriptor(layer))
		if err != nil {
			return nil, err
		}
		if _, err := writer.Write(bytes); err != nil {
			return nil, err
		}
		if err := writer.Commit(ctx, layer.Size, layer.Digest); err != nil {
			return nil, err
		}
		layers.Descriptors = append(layers.Descriptors, layer)
	}
	return layers, nil
}

var errWritten = errors.New("the layers were written")

// writer takes the place of the daemon, which would unpack the layers.
type writer struct {
	worker.Worker
	folder string
}

func (w *writer) FromRemote(ctx context.Context, layers *solver.Remote) (cache.ImmutableRef, error) {
	for _, layer := range layers.Descriptors {
		bytes, err := content.ReadBlob(ctx, layers.Provider, layer)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(w.folder, layer.Digest.String()), bytes, 0o600); err != nil {
			return nil, err
		}
	}
	return nil, errWritten
}
