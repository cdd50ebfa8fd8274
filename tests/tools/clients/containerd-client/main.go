// Command containerd-client pushes and pulls with containerd's resolver, as containerd, docker and BuildKit do.
//
//	containerd-client push FOLDER DIGEST MEDIATYPE REFERENCE
//	containerd-client pull REFERENCE FOLDER [CHUNK]
//	containerd-client copy REFERENCE FOLDER REFERENCE
//
// FOLDER is a content store, in the form of the blobs of an OCI layout. `pull` prints the descriptor of the manifest.
// With CHUNK it fetches larger blobs in several concurrent requests of that many bytes each. `copy` records where
// contents came from, so that they are mounted if the second reference is in the same registry.
//
// It signs in with CLIENT_USER and CLIENT_PASSWORD of the environment, if they are set.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const parallelRequests = 4

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "containerd-client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) == 5 && arguments[0] == "push":
		return push(ctx, arguments[1], digest.Digest(arguments[2]), arguments[3], arguments[4])
	case len(arguments) == 3 && arguments[0] == "pull":
		return pull(ctx, arguments[1], arguments[2], 0)
	case len(arguments) == 4 && arguments[0] == "pull":
		chunk, err := strconv.Atoi(arguments[3])
		if err != nil {
			return err
		}
		return pull(ctx, arguments[1], arguments[2], chunk)
	case len(arguments) == 4 && arguments[0] == "copy":
		return copyImage(ctx, arguments[1], arguments[2], arguments[3])
	}
	return fmt.Errorf("unknown arguments %q", arguments)
}

func push(ctx context.Context, folder string, dgst digest.Digest, mediaType, reference string) error {
	store, err := local.NewStore(folder)
	if err != nil {
		return err
	}
	info, err := store.Info(ctx, dgst)
	if err != nil {
		return err
	}
	return pushFrom(ctx, store, ocispec.Descriptor{MediaType: mediaType, Digest: dgst, Size: info.Size}, reference)
}

func pull(ctx context.Context, reference, folder string, chunk int) error {
	store, err := local.NewStore(folder)
	if err != nil {
		return err
	}
	_, descriptor, err := pullInto(ctx, store, reference, chunk)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(descriptor)
}

func copyImage(ctx context.Context, source, folder, target string) error {
	store, err := local.NewLabeledStore(folder, labels{})
	if err != nil {
		return err
	}
	name, descriptor, err := pullInto(ctx, store, source, 0)
	if err != nil {
		return err
	}
	remember, err := docker.AppendDistributionSourceLabel(store, name)
	if err != nil {
		return err
	}
	if err := images.Walk(ctx, images.Handlers(remember, images.ChildrenHandler(store)), descriptor); err != nil {
		return err
	}
	return pushFrom(ctx, store, descriptor, target)
}

func pushFrom(ctx context.Context, store content.Store, descriptor ocispec.Descriptor, reference string) error {
	pusher, err := resolver(0).Pusher(ctx, reference)
	if err != nil {
		return err
	}
	return remotes.PushContent(ctx, pusher, descriptor, store, nil, platforms.All, nil)
}

func pullInto(ctx context.Context, store content.Store, reference string, chunk int) (string, ocispec.Descriptor, error) {
	resolver := resolver(chunk)
	name, descriptor, err := resolver.Resolve(ctx, reference)
	if err != nil {
		return "", descriptor, err
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return "", descriptor, err
	}
	handler := images.Handlers(remotes.FetchHandler(store, fetcher), images.ChildrenHandler(store))
	return name, descriptor, images.Dispatch(ctx, handler, nil, descriptor)
}

func resolver(chunk int) remotes.Resolver {
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithPlainHTTP(docker.MatchLocalhost),
			docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthCreds(credentials))),
		),
	})
	if chunk > 0 {
		resolver.(remotes.ResolverWithOptions).SetOptions(
			transfer.WithMaxConcurrentDownloads(parallelRequests),
			transfer.WithConcurrentLayerFetchBuffer(chunk),
		)
	}
	return resolver
}

func credentials(string) (string, string, error) {
	return os.Getenv("CLIENT_USER"), os.Getenv("CLIENT_PASSWORD"), nil
}

// labels is in memory. containerd has a database for labels.
type labels map[digest.Digest]map[string]string

func (l labels) Get(dgst digest.Digest) (map[string]string, error) { return l[dgst], nil }

func (l labels) Set(dgst digest.Digest, set map[string]string) error {
	l[dgst] = set
	return nil
}

func (l labels) Update(dgst digest.Digest, changes map[string]string) (map[string]string, error) {
	updated := map[string]string{}
	for _, set := range []map[string]string{l[dgst], changes} {
		for key, value := range set {
			updated[key] = value
			if value == "" {
				delete(updated, key)
			}
		}
	}
	l[dgst] = updated
	return updated, nil
}
