//! Reads image manifests and indexes of the image-spec (1.1) and of Docker (schema 2), in one pass over the bytes.

use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::annotations::AnnotationsSeed;
use super::descriptor::{DescriptorAt, DescriptorList};
use super::field::{Field, Reference, ReferenceKind};
use super::media_type::{Family, is_distributable, kind_of_entry};
use super::text::{Key, Keys, Text};
use super::{MAX_ARTIFACT_TYPE, ManifestInfo, ManifestKind, Strictness};

/// Read an image manifest or an index.
///
/// An image must have a config. Its layers may be absent. An index must have `manifests`, which may be empty or null.
/// Other keys are allowed, with any value.
///
/// An artifact type that is too long is an error. With [`Strictness::Lax`] it is dropped.
pub(super) fn read(
    content: &[u8],
    kind: ManifestKind,
    family: Family,
    strictness: Strictness,
) -> serde_json::Result<ManifestInfo> {
    let mut deserializer = serde_json::Deserializer::from_slice(content);
    let info = deserializer.deserialize_any(Manifest { kind, family, strictness })?;
    deserializer.end()?;
    Ok(info)
}

struct Manifest {
    kind: ManifestKind,
    family: Family,
    strictness: Strictness,
}

impl<'de> Visitor<'de> for Manifest {
    type Value = ManifestInfo;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ManifestInfo, A::Error> {
        let Self { kind, family, strictness } = self;
        let (is_image, is_oci) = (kind == ManifestKind::Image, family == Family::Oci);
        let mut info = ManifestInfo::new(kind, Vec::new());
        let (mut config_type, mut is_listed) = (None, false);
        let mut keys =
            Keys::new(["mediaType", "config", "layers", "manifests", "subject", "artifactType", "annotations"]);
        while let Some(key) = map.next_key_seed(Key)? {
            match keys.find(&key)? {
                Some(name @ "mediaType") => {
                    // The outline has checked its value.
                    map.next_value_seed(Text(name))?;
                }
                Some("config") if is_image => {
                    if let Some(config) = map.next_value_seed(DescriptorAt { place: &Field::Config, family })? {
                        config_type = Some(config.media_type);
                        info.references.push(Reference {
                            field: Field::Config,
                            kind: ReferenceKind::Blob,
                            digest: config.digest,
                            size: config.size,
                            required: true,
                        });
                    }
                }
                Some(name @ "layers") if is_image => {
                    let layers = DescriptorList { name, place: Field::Layer, family };
                    map.next_value_seed(layers.each(|field, layer| {
                        // A non-distributable layer is stored elsewhere.
                        let (kind, required) = (ReferenceKind::Blob, is_distributable(&layer.media_type));
                        let (digest, size) = (layer.digest, layer.size);
                        info.references.push(Reference { field, kind, digest, size, required });
                    }))?;
                }
                Some(name @ "manifests") if !is_image => {
                    is_listed = true;
                    let entries = DescriptorList { name, place: Field::Manifest, family };
                    map.next_value_seed(entries.each(|field, entry| {
                        // An index requires all its entries, of any type.
                        let (kind, required) = (kind_of_entry(&entry.media_type), true);
                        let (digest, size) = (entry.digest, entry.size);
                        info.references.push(Reference { field, kind, digest, size, required });
                    }))?;
                }
                Some("subject") if is_oci => {
                    let subject = map.next_value_seed(DescriptorAt { place: &Field::Subject, family })?;
                    info.subject = subject.map(|subject| subject.digest);
                }
                Some(name @ "artifactType") if is_oci => {
                    let own = map.next_value_seed(Text(name))?;
                    info.artifact_type = own.filter(|own| !own.is_empty()).map(Into::into);
                }
                Some("annotations") if is_oci => info.annotations = map.next_value_seed(AnnotationsSeed)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !is_image && !is_listed {
            return Err(A::Error::custom("no manifests in an index"));
        }
        if is_image {
            let config_type = config_type.ok_or_else(|| A::Error::custom("no descriptor in config"))?;
            if is_oci {
                // Spec, listing referrers: an image without an artifact type has that of its config.
                info.artifact_type.get_or_insert_with(|| config_type.into());
            }
        }
        if info.artifact_type.as_ref().is_some_and(|artifact_type| artifact_type.len() > MAX_ARTIFACT_TYPE) {
            if strictness == Strictness::Strict {
                return Err(A::Error::custom(format_args!(
                    "the artifactType or the media type of the config is longer than {MAX_ARTIFACT_TYPE} bytes"
                )));
            }
            info.artifact_type = None;
        }
        Ok(info)
    }
}
