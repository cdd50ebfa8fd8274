//! Image manifests and indexes (image-spec 1.1), in one pass over their bytes.

use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::annotations::AnnotationsSeed;
use super::descriptor::{DescriptorAt, DescriptorList, push};
use super::field::{Field, Reference, ReferenceKind};
use super::text::{Key, Keys, Text};
use super::{MAX_ARTIFACT_TYPE, ManifestInfo, ManifestKind};

/// Read a manifest of one of the two kinds.
///
/// Config is required of an image; lists may be empty, null or absent. Keys that are not read may be
/// there, and hold anything.
pub(super) fn read(content: &[u8], kind: ManifestKind) -> serde_json::Result<ManifestInfo> {
    let mut deserializer = serde_json::Deserializer::from_slice(content);
    let info = deserializer.deserialize_any(Manifest(kind))?;
    deserializer.end()?;
    Ok(info)
}

struct Manifest(ManifestKind);

impl<'de> Visitor<'de> for Manifest {
    type Value = ManifestInfo;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ManifestInfo, A::Error> {
        let is_image = self.0 == ManifestKind::Image;
        let mut info = ManifestInfo::new(self.0, Vec::new());
        let mut config_type = None;
        let mut keys = Keys::new(["config", "layers", "manifests", "subject", "artifactType", "annotations"]);
        while let Some(key) = map.next_key_seed(Key)? {
            match keys.find(&key)? {
                Some("config") if is_image => {
                    if let Some(config) = map.next_value_seed(DescriptorAt(&Field::Config))? {
                        config_type = Some(config.media_type);
                        let (field, kind) = (Field::Config, ReferenceKind::Blob);
                        push(&mut info.references, Reference { field, kind, digest: config.digest, required: true })?;
                    }
                }
                Some(name @ "layers") if is_image => map.next_value_seed(DescriptorList {
                    name,
                    place: Field::Layer,
                    kind: ReferenceKind::Blob,
                    references: &mut info.references,
                })?,
                Some(name @ "manifests") if !is_image => map.next_value_seed(DescriptorList {
                    name,
                    place: Field::Manifest,
                    kind: ReferenceKind::Manifest,
                    references: &mut info.references,
                })?,
                Some("subject") => {
                    info.subject = map.next_value_seed(DescriptorAt(&Field::Subject))?.map(|subject| subject.digest);
                }
                Some(name @ "artifactType") => {
                    let own = map.next_value_seed(Text(name))?;
                    info.artifact_type = own.filter(|own| !own.is_empty()).map(Into::into);
                }
                Some("annotations") => info.annotations = map.next_value_seed(AnnotationsSeed)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if is_image {
            let config_type = config_type.ok_or_else(|| A::Error::custom("no descriptor in config"))?;
            // Listing referrers: an image without a type of its own has that of its config.
            info.artifact_type.get_or_insert_with(|| config_type.into());
        }
        if info.artifact_type.as_ref().is_some_and(|artifact_type| artifact_type.len() > MAX_ARTIFACT_TYPE) {
            return Err(A::Error::custom(format_args!(
                "an artifactType, or the media type of a config, of more than {MAX_ARTIFACT_TYPE} bytes"
            )));
        }
        Ok(info)
    }
}
