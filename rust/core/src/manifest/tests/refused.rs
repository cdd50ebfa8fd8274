//! Manifests that are refused, and the messages.

use super::super::{MAX_ARTIFACT_TYPE, MAX_DEPTH, Strictness, read};
use super::{
    ARTIFACT, DOCKER_IMAGE, DOCKER_LIST, EMPTY, EMPTY_512, IMAGE, INDEX, SCHEMA_1, filled, image, index, other, typed,
    why,
};

#[test]
fn a_type_has_no_keys_of_another() {
    let (config, layers, manifests) = (r#""config":{c}"#, r#""layers":[{l}]"#, r#""manifests":[]"#);
    let fs_layers = r#""fsLayers":[{"blobSum":"{1}"}]"#;
    for (media_type, keys, want) in [
        (IMAGE, vec![config, layers, manifests], "an image manifest must not have manifests"),
        (DOCKER_IMAGE, vec![config, layers, manifests], "an image manifest must not have manifests"),
        (IMAGE, vec![manifests], "an image manifest must not have manifests"),
        (IMAGE, vec![config, fs_layers], "an image manifest must not have fsLayers"),
        (INDEX, vec![config, manifests], "an index must not have config"),
        (INDEX, vec![config, layers], "an index must not have config"),
        (DOCKER_LIST, vec![manifests, layers], "an index must not have layers"),
        (DOCKER_LIST, vec![fs_layers], "an index must not have fsLayers"),
        (INDEX, vec![], "no manifests in an index"),
        (DOCKER_LIST, vec![], "no manifests in an index"),
        (IMAGE, vec![layers], "no descriptor in config"),
        (DOCKER_IMAGE, vec![layers], "no descriptor in config"),
        (SCHEMA_1, vec![config, layers], "a manifest of schema 1 must not have config"),
        (SCHEMA_1, vec![fs_layers, manifests], "a manifest of schema 1 must not have manifests"),
        (ARTIFACT, vec![config, layers], "an artifact manifest must not have config"),
    ] {
        let template = format!("{{{}}}", keys.join(","));
        assert_eq!(why(typed(&template, media_type)), want, "{template} as {media_type}");
        let is_missing = want.starts_with("no ");
        let lax = read(filled(&template).as_bytes(), media_type, Strictness::Lax);
        assert_eq!(lax.is_ok(), is_missing, "lax: {template} as {media_type}");
    }
    // Other types have no schema.
    assert!(typed(&format!("{{{config},{layers},{manifests},{fs_layers}}}"), "application/json").is_ok());
}

#[test]
fn artifact_types_are_bounded() {
    let of = |length: usize| "x".repeat(length);
    let own = |length| format!(r#"{{"config":{{c}},"artifactType":"{}"}}"#, of(length));
    let of_config = |length| format!(r#"{{"config":{{"mediaType":"{}","digest":"{{1}}","size":2}}}}"#, of(length));
    assert!(image(&own(MAX_ARTIFACT_TYPE)).is_ok());
    assert!(image(&of_config(MAX_ARTIFACT_TYPE)).is_ok());
    let want = "the artifactType or the media type of the config is longer than 255 bytes";
    assert_eq!(why(image(&own(MAX_ARTIFACT_TYPE + 1))), want);
    assert_eq!(why(image(&of_config(MAX_ARTIFACT_TYPE + 1))), want);
    assert_eq!(why(index(&format!(r#"{{"manifests":[],"artifactType":"{}"}}"#, of(MAX_ARTIFACT_TYPE + 1)))), want);
    // Lax reading accepts it, without an artifact type.
    let lax = read(filled(&own(MAX_ARTIFACT_TYPE + 1)).as_bytes(), IMAGE, Strictness::Lax).expect("taken");
    assert_eq!((lax.artifact_type, lax.subject), (None, None));
}

#[test]
fn only_empty_content_has_size_zero() {
    for digest in [EMPTY, EMPTY_512] {
        let descriptor = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":0}}"#);
        assert!(image(&format!(r#"{{"config":{descriptor}}}"#)).is_ok());
    }
    let error = why(image(r#"{"config":{"mediaType":"a/b","digest":"{1}","size":0}}"#));
    assert_eq!(error, "bad descriptor in config: zero sized content with mismatching digest");
}

#[test]
fn bad_descriptors_are_named() {
    for (descriptor, want) in [
        (r#"{"digest":"{1}","size":2}"#, "bad descriptor in layers[1]: no media type in descriptor"),
        (r#"{"mediaType":"","digest":"{1}","size":2}"#, "bad descriptor in layers[1]: no media type in descriptor"),
        (r#"{"mediaType":null,"digest":"{1}","size":2}"#, "bad descriptor in layers[1]: no media type in descriptor"),
        (r#"{"mediaType":"a","size":2}"#, "bad descriptor in layers[1]: invalid digest \"\""),
        (
            r#"{"mediaType":"a","digest":"sha256:x","size":2}"#,
            "bad descriptor in layers[1]: invalid digest \"sha256:x\"",
        ),
        (r#"{"mediaType":"a","digest":"{1}"}"#, "bad descriptor in layers[1]: no size"),
        (r#"{"mediaType":"a","digest":"{1}","size":null}"#, "bad descriptor in layers[1]: no size"),
        ("{}", "bad descriptor in layers[1]: invalid digest \"\""),
        ("null", "no descriptor in layers[1]"),
        ("5", "invalid type: integer `5`, expected a descriptor as layers[1]"),
        ("[]", "invalid type: sequence, expected a descriptor as layers[1]"),
        (
            r#"{"mediaType":"a","digest":"{1}","size":-1}"#,
            "invalid type: integer `-1`, expected an integer from 0 to 2^63-1 as size of layers[1]",
        ),
        (
            r#"{"mediaType":"a","digest":"{1}","size":9223372036854775808}"#,
            "invalid value: integer `9223372036854775808`, expected an integer from 0 to 2^63-1 as size of layers[1]",
        ),
        (
            r#"{"mediaType":"a","digest":"{1}","size":2.0}"#,
            "invalid type: floating point `2.0`, expected an integer from 0 to 2^63-1 as size of layers[1]",
        ),
        (
            r#"{"mediaType":"a","digest":5,"size":2}"#,
            "invalid type: integer `5`, expected a string as digest of layers[1]",
        ),
        (
            r#"{"mediaType":{},"digest":"{1}","size":2}"#,
            "invalid type: map, expected a string as mediaType of layers[1]",
        ),
    ] {
        assert_eq!(why(image(&format!(r#"{{"config":{{c}},"layers":[{{l}},{descriptor}]}}"#))), want, "{descriptor}");
    }
    assert_eq!(why(image("{}")), "no descriptor in config");
    assert_eq!(why(image(r#"{"config":null}"#)), "no descriptor in config");
    assert_eq!(why(index(r#"{"manifests":[{}]}"#)), "bad descriptor in manifests[0]: invalid digest \"\"");
    assert_eq!(why(index(r#"{"subject":{}}"#)), "bad descriptor in subject: invalid digest \"\"");
}

#[test]
fn other_fields_must_have_their_types() {
    for (template, want) in [
        ("", "EOF while parsing a value"),
        ("foo", "expected ident"),
        (r#"{"manifests":[]} x"#, "trailing characters"),
        ("\u{feff}{}", "expected value"),
        ("[]", "invalid type: sequence, expected an object"),
        ("null", "invalid type: null, expected an object"),
        (r#"{"manifests":{}}"#, "invalid type: map, expected an array as manifests"),
        (r#"{"artifactType":5}"#, "invalid type: integer `5`, expected a string as artifactType"),
        (r#"{"annotations":[]}"#, "invalid type: sequence, expected an object of strings as annotations"),
        (r#"{"annotations":{"a":1}}"#, "invalid type: integer `1`, expected a string as value in annotations"),
        (r#"{"annotations":{"a":null}}"#, "null as value in annotations"),
    ] {
        assert_eq!(why(index(template)), want, "{template}");
    }
}

#[test]
fn ambiguous_keys_are_refused() {
    for (template, want) in [
        (r#"{"manifests":[],"manifests":[]}"#, "manifests appears twice"),
        (r#"{"manifests":[],"manif\u0065sts":[]}"#, "manifests appears twice"),
        (r#"{"Manifests":[]}"#, "a key that differs from manifests only in case"),
        (r#"{"subject":null,"subject":{c}}"#, "subject appears twice"),
        (r#"{"annotations":{"a":"1","a":"2"}}"#, "a key of annotations appears twice"),
        (r#"{"manifests":[{"mediaType":"a","digest":"{1}","digest":"{2}","size":2}]}"#, "digest appears twice"),
        (
            r#"{"manifests":[{"mediaType":"a","digest":"{1}","Digest":"{2}","size":2}]}"#,
            "a key that differs from digest only in case",
        ),
    ] {
        assert_eq!(why(index(template)), want, "{template}");
    }
    // Unknown keys may appear twice, and keys of annotations may differ only in case.
    assert!(index(r#"{"x":1,"x":2,"annotations":{"a":"1","A":"2"},"manifests":[]}"#).is_ok());
}

#[test]
fn messages_are_bounded_and_printable() {
    let long = format!(r#"{{"artifactType":5,"layers":"{}"}}"#, "x".repeat(1 << 20));
    assert!(index(&long).expect_err("refused").len() < 400);
    let long = format!(r#"{{"manifests":"\u001b[2J{}"}}"#, "x".repeat(1 << 20));
    let error = index(&long).expect_err("refused");
    assert!(error.chars().count() < 400 && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn depth_is_bounded_and_length_is_not() {
    let nested = |levels: usize| format!(r#"{{"config":{{c}},"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(image(&nested(MAX_DEPTH - 1)).is_ok());
    let error = image(&nested(MAX_DEPTH)).expect_err("too deep");
    assert_eq!(error, "invalid manifest: nested deeper than 64 levels");
    assert!(image(&nested(1 << 20)).is_err());

    let count = 30_000;
    let children = format!(r#"{{"manifests":[{}]}}"#, vec!["{l}"; count].join(","));
    assert_eq!(index(&children).map(|info| info.references.len()), Ok(count));
    let found = other(&format!("[{}]", vec![r#"{"digest":"{1}"}"#; count].join(",")), "a/b");
    assert_eq!(found.references.len(), count);
}
