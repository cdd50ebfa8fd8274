//! What a manifest's media type says about its content.

use super::ManifestKind;
use super::field::{Field, ReferenceKind};

/// Layers that clients fetch elsewhere: a registry may never see them (image-spec: layer, and Docker's
/// foreign layers).
const NON_DISTRIBUTABLE: [&str; 2] =
    ["application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"];

/// How to read a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// An image or an index, held to the image-spec.
    Oci(ManifestKind),
    /// Searched, with what is known of its shape.
    Other(Shape),
}

/// Known places of descriptors in types that are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `config` and `layers`.
    DockerManifest,
    /// `manifests`.
    DockerList,
    /// `fsLayers[].blobSum`.
    DockerSchema1,
    /// `blobs`.
    OciArtifact,
    /// Nothing is known.
    Unknown,
}

impl Schema {
    /// Media types are case-insensitive, and parameters do not matter here (RFC 9110, 8.3.1).
    pub(super) fn of(media_type: &str) -> Self {
        let essence = media_type.split(';').next().unwrap_or_default().trim_ascii();
        let is = |known: &str| essence.eq_ignore_ascii_case(known);
        if is("application/vnd.oci.image.manifest.v1+json") {
            Self::Oci(ManifestKind::Image)
        } else if is("application/vnd.oci.image.index.v1+json") {
            Self::Oci(ManifestKind::Index)
        } else if is("application/vnd.docker.distribution.manifest.v2+json") {
            Self::Other(Shape::DockerManifest)
        } else if is("application/vnd.docker.distribution.manifest.list.v2+json") {
            Self::Other(Shape::DockerList)
        } else if is("application/vnd.docker.distribution.manifest.v1+json")
            || is("application/vnd.docker.distribution.manifest.v1+prettyjws")
        {
            Self::Other(Shape::DockerSchema1)
        } else if is("application/vnd.oci.artifact.manifest.v1+json") {
            Self::Other(Shape::OciArtifact)
        } else {
            Self::Other(Shape::Unknown)
        }
    }
}

impl Shape {
    /// The place of a digest, told by the key of the digest itself, the key that its object stands under
    /// at the top, and its index there if that is an array.
    pub(super) fn place(self, key: &str, parent: &str, index: Option<usize>) -> Option<(Field, ReferenceKind)> {
        match (self, key, parent, index) {
            (Self::DockerManifest, "digest", "config", None) => Some((Field::Config, ReferenceKind::Blob)),
            (Self::DockerManifest, "digest", "layers", Some(index)) => Some((Field::Layer(index), ReferenceKind::Blob)),
            (Self::DockerList, "digest", "manifests", Some(index)) => {
                Some((Field::Manifest(index), ReferenceKind::Manifest))
            }
            (Self::DockerSchema1, "blobSum", "fsLayers", Some(index)) => {
                Some((Field::FsLayer(index), ReferenceKind::Blob))
            }
            (Self::OciArtifact, "digest", "blobs", Some(index)) => Some((Field::Blob(index), ReferenceKind::Blob)),
            _ => None,
        }
    }
}

/// Must a layer of this type be in the repository?
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
            assert_eq!(Schema::of(media_type), Schema::Oci(ManifestKind::Image), "{media_type}");
        }
        for media_type in ["", ";", "application/json", "application/vnd.oci.image.manifest.v1"] {
            assert_eq!(Schema::of(media_type), Schema::Other(Shape::Unknown), "{media_type}");
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
