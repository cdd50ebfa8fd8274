//! Media types of manifests, and the schemas that they stand for.

use super::field::{Field, ReferenceKind};

/// Types of layers that clients fetch from elsewhere, so a registry may not have them (image-spec: layer; Docker:
/// foreign layers).
const NON_DISTRIBUTABLE: [&str; 2] =
    ["application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"];

/// Longest media type, in characters (RFC 6838, 4.2: two names of up to 127 and a slash).
pub const MAX_MEDIA_TYPE: usize = 255;

/// The image manifest of the image-spec.
pub(super) const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The index of the image-spec.
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Who defines a type of image or index. Both families have the same structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// The image-spec. Each descriptor has a media type, a digest and a size. There are subjects and annotations.
    Oci,
    /// Schema 2 of Docker. Each descriptor has a digest; some clients omit the rest.
    Docker,
}

/// The schema of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// `config` and `layers`.
    Image(Family),
    /// `manifests`.
    Index(Family),
    /// `fsLayers[].blobSum`.
    DockerSchema1,
    /// `blobs`: the artifact manifest, which the image-spec has withdrawn.
    OciArtifact,
    /// An unknown type. It is searched for descriptors.
    Unknown,
}

impl Schema {
    /// Media types are case-insensitive, and parameters do not matter here (RFC 9110, 8.3.1).
    pub(super) fn of(media_type: &str) -> Self {
        let is = |known: &str| essence(media_type).eq_ignore_ascii_case(known);
        if is(OCI_IMAGE) {
            Self::Image(Family::Oci)
        } else if is(OCI_INDEX) {
            Self::Index(Family::Oci)
        } else if is("application/vnd.docker.distribution.manifest.v2+json") {
            Self::Image(Family::Docker)
        } else if is("application/vnd.docker.distribution.manifest.list.v2+json") {
            Self::Index(Family::Docker)
        } else if is("application/vnd.docker.distribution.manifest.v1+json")
            || is("application/vnd.docker.distribution.manifest.v1+prettyjws")
        {
            Self::DockerSchema1
        } else if is("application/vnd.oci.artifact.manifest.v1+json") {
            Self::OciArtifact
        } else {
            Self::Unknown
        }
    }

    /// The field of a digest in a type that is searched, and whether its target is required. `key` is the key of the
    /// digest, `parent` is the top-level key of its object, and `index` is the index there if that is an array.
    pub(super) fn place(self, key: &str, parent: &str, index: Option<usize>) -> Option<(Field, bool)> {
        match (self, key, parent, index) {
            (Self::DockerSchema1, "blobSum", "fsLayers", Some(index)) => Some((Field::FsLayer(index), true)),
            (Self::OciArtifact, "digest", "blobs", Some(index)) => Some((Field::Blob(index), false)),
            _ => None,
        }
    }
}

/// A media type without its parameters.
pub(super) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim_ascii()
}

/// Whether the media type can be stored and sent in a header.
pub(super) fn is_valid(media_type: &str) -> bool {
    (1..=MAX_MEDIA_TYPE).contains(&media_type.len()) && media_type.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// What an entry of an index points at. The image-spec allows entries of unknown types, and such an entry may be a
/// blob: `BuildKit` stores its cache in this way.
pub(super) fn kind_of_entry(media_type: &str) -> ReferenceKind {
    match Schema::of(media_type) {
        Schema::Image(_) | Schema::Index(_) => ReferenceKind::Manifest,
        _ => ReferenceKind::Unknown,
    }
}

/// Whether a layer of this type must be in the repository.
pub(super) fn is_distributable(media_type: &str) -> bool {
    let starts = |prefix: &&str| media_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    !NON_DISTRIBUTABLE.iter().any(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        for media_type in [
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            " Application/VND.oci.image.manifest.v1+json ;x",
        ] {
            assert_eq!(Schema::of(media_type), Schema::Image(Family::Oci), "{media_type}");
        }
        for media_type in ["", ";", "application/json", "application/vnd.oci.image.manifest.v1"] {
            assert_eq!(Schema::of(media_type), Schema::Unknown, "{media_type}");
        }
    }

    #[test]
    fn non_distributable_layers() {
        for media_type in [
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            assert!(!is_distributable(media_type), "{media_type}");
        }
        for media_type in ["", "é", "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondist"]
        {
            assert!(is_distributable(media_type), "{media_type}");
        }
    }
}
