//! Tests that read whole manifests. This file has the constants and functions that the others share.

mod accepted;
mod other;
mod refused;

use super::{ManifestInfo, Strictness, read};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const D1: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const D2: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const EMPTY_512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
    47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";

/// Fill in `{c}` for a config, `{l}` for a layer, `{1}` and `{2}` for digests.
fn filled(template: &str) -> String {
    template
        .replace("{c}", r#"{"mediaType":"app/config","digest":"{1}","size":2}"#)
        .replace("{l}", r#"{"mediaType":"app/layer","digest":"{2}","size":3}"#)
        .replace("{1}", D1)
        .replace("{2}", D2)
}

fn typed(template: &str, media_type: &str) -> Result<ManifestInfo, String> {
    read(filled(template).as_bytes(), media_type, Strictness::Strict).map_err(|error| error.to_string())
}

fn image(template: &str) -> Result<ManifestInfo, String> {
    typed(template, IMAGE)
}

fn index(template: &str) -> Result<ManifestInfo, String> {
    typed(template, INDEX)
}

fn other(template: &str, media_type: &str) -> ManifestInfo {
    typed(template, media_type).expect("not refused")
}

/// The references as `field kind digest`, with `!` for a required one.
fn references(info: &ManifestInfo) -> Vec<String> {
    let show = |digest: &str| if digest == D1 { "{1}" } else { "{2}" };
    let mut found = Vec::new();
    for reference in &info.references {
        let mark = if reference.required { "!" } else { "" };
        found.push(format!("{} {}{mark} {}", reference.field, reference.kind.name(), show(reference.digest.as_str())));
    }
    found
}

/// The error without the place that `serde_json` adds.
fn why(result: Result<ManifestInfo, String>) -> String {
    let error = result.expect_err("refused");
    let error = error.strip_prefix("invalid manifest: ").expect("Go's form").to_owned();
    error.split(" at line ").next().unwrap_or_default().to_owned()
}
