// Command cosign-client signs and verifies images with cosign's packages, as `cosign sign` and `cosign verify` do with
// a local key and without a transparency log.
//
//	cosign-client sign bundle|tag REFERENCE PUBLIC_KEY
//	cosign-client verify bundle|tag REFERENCE PUBLIC_KEY
//
// `bundle` is the method of cosign 3: a bundle that refers to the image, found with the referrers API. `tag` is the
// older method: an image of signatures under a tag that contains the digest. `sign` makes a key, and writes the public
// key into the file PUBLIC_KEY.
package main

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/sigstore/cosign/v3/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v3/pkg/oci/mutate"
	"github.com/sigstore/cosign/v3/pkg/oci/remote"
	"github.com/sigstore/cosign/v3/pkg/oci/static"
	"github.com/sigstore/cosign/v3/pkg/types"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cosign-client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) != 4 {
		return fmt.Errorf("unknown arguments %q", arguments)
	}
	reference, err := name.ParseReference(arguments[2], name.Insecure)
	if err != nil {
		return err
	}
	switch command := arguments[0] + " " + arguments[1]; command {
	case "sign bundle":
		return withNewKey(arguments[3], func(key *sign.EphemeralKeypair) error { return signByBundle(ctx, reference, key) })
	case "sign tag":
		return withNewKey(arguments[3], func(key *sign.EphemeralKeypair) error { return signByTag(ctx, reference, key) })
	case "verify bundle", "verify tag":
		return verify(ctx, reference, arguments[3], arguments[1] == "bundle")
	default:
		return fmt.Errorf("unknown command %q", command)
	}
}

func withNewKey(file string, use func(*sign.EphemeralKeypair) error) error {
	key, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return err
	}
	public, err := key.GetPublicKeyPem()
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(file, []byte(public), 0o600), use(key))
}

func signByBundle(ctx context.Context, reference name.Reference, key *sign.EphemeralKeypair) error {
	digest, err := remote.ResolveDigest(reference)
	if err != nil {
		return err
	}
	algorithm, hex := digestParts(digest)
	statement, err := protojson.Marshal(&intoto.Statement{
		Type:          intoto.StatementTypeUri,
		Subject:       []*intoto.ResourceDescriptor{{Digest: map[string]string{algorithm: hex}}},
		PredicateType: types.CosignSignPredicateType,
		Predicate:     &structpb.Struct{},
	})
	if err != nil {
		return err
	}
	content := &sign.DSSEData{Data: statement, PayloadType: types.IntotoPayloadType}
	signed, err := bundle.SignData(ctx, content, key, "", nil, nil, &root.SigningConfig{}, nil, bundle.SignOptions{})
	if err != nil {
		return err
	}
	return remote.WriteAttestationNewBundleFormat(digest, signed, types.CosignSignPredicateType)
}

func signByTag(ctx context.Context, reference name.Reference, key *sign.EphemeralKeypair) error {
	digest, err := remote.ResolveDigest(reference)
	if err != nil {
		return err
	}
	claim, err := payload.Cosign{Image: digest}.MarshalJSON()
	if err != nil {
		return err
	}
	signed, _, err := key.SignData(ctx, claim)
	if err != nil {
		return err
	}
	attachment, err := static.NewSignature(claim, base64.StdEncoding.EncodeToString(signed))
	if err != nil {
		return err
	}
	entity, err := remote.SignedEntity(digest)
	if err != nil {
		return err
	}
	entity, err = mutate.AttachSignatureToEntity(entity, attachment)
	if err != nil {
		return err
	}
	return remote.WriteSignatures(digest.Repository, entity)
}

func verify(ctx context.Context, reference name.Reference, file string, asBundle bool) error {
	encoded, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(encoded)
	if err != nil {
		return err
	}
	verifier, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		return err
	}
	options := &cosign.CheckOpts{SigVerifier: verifier, IgnoreTlog: true, NewBundleFormat: asBundle}
	if asBundle {
		options.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
		_, _, err = cosign.VerifyImageAttestations(ctx, reference, options, name.Insecure)
		return err
	}
	options.ClaimVerifier = cosign.SimpleClaimVerifier
	_, _, err = cosign.VerifyImageSignatures(ctx, reference, options)
	return err
}

func digestParts(digest name.Digest) (algorithm, hex string) {
	algorithm, hex, _ = strings.Cut(digest.DigestStr(), ":")
	return algorithm, hex
}
