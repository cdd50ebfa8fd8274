//! Manifests, whole: what is accepted, what is found, what is refused and how.

use super::{
    Annotations, MAX_ARTIFACT_TYPE, MAX_DEPTH, ManifestInfo, ManifestKind, Strictness, for_each, media_type, read,
    read_stored,
};

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

#[test]
fn an_image() {
    let info = image(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{c},"layers":[{l},{l}],
        "subject":{"mediaType":"a/b","digest":"{2}","size":246},"annotations":{"b":"2","a":"1"},"x":{"digest":1}}"#,
    )
    .expect("valid");
    assert_eq!(info.kind, ManifestKind::Image);
    assert_eq!(references(&info), ["config blob! {1}", "layers[0] blob! {2}", "layers[1] blob! {2}"]);
    assert_eq!(info.subject.map(|subject| subject.to_string()).as_deref(), Some(D2));
    assert_eq!(info.artifact_type.as_deref(), Some("app/config"));
    assert_eq!(info.annotations.json(), Some(r#"{"b":"2","a":"1"}"#));
}

#[test]
fn an_index() {
    let info = index(r#"{"manifests":[{l},{c}],"artifactType":"own/type","subject":{c}}"#).expect("valid");
    assert_eq!(info.kind, ManifestKind::Index);
    assert_eq!(references(&info), ["manifests[0] unknown! {2}", "manifests[1] unknown! {1}"]);
    assert_eq!(info.subject.map(|subject| subject.to_string()).as_deref(), Some(D1));
    assert_eq!(info.artifact_type.as_deref(), Some("own/type"));
}

#[test]
fn strings_may_be_escaped() {
    let info = image(
        r#"{"config":{"mediaType":"app\/config","digest":"sha\u003256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size":2},"annotations":{"a\n":"\u00e9\ud83d\ude00"}}"#,
    )
    .expect("valid");
    assert_eq!(
        (references(&info), info.artifact_type.as_deref()),
        (vec!["config blob! {1}".to_owned()], Some("app/config"))
    );
    assert_eq!(info.annotations.json(), Some(r#"{"a\n":"é😀"}"#));
    assert!(index(r#"{"annotations":{"a":"\ud83d"}}"#).is_err(), "half a character");
}

#[test]
fn annotations_are_no_longer_than_they_were() {
    // What JSON lets be written in other ways stands there in its shortest form.
    let written = r#"{ "a\/b" : "\u0041\u00e9\ud83d\ude00", "c" : "\"\\\b\f\n\r\t\u0001\u007f", "" : "" }"#;
    let annotations = index(&format!(r#"{{"manifests":[],"annotations":{written}}}"#)).expect("valid").annotations;
    let shortest = "{\"a/b\":\"Aé😀\",\"c\":\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\u{7f}\",\"\":\"\"}";
    assert_eq!(annotations.json(), Some(shortest));
    let again = index(&format!(r#"{{"manifests":[],"annotations":{shortest}}}"#)).expect("valid").annotations;
    assert_eq!(again, annotations);
    let mut found = Vec::new();
    for_each(shortest.as_bytes(), |key, value| found.push((key.to_owned(), value.to_owned()))).expect("ours");
    let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(found, [owned("a/b", "Aé😀"), owned("c", "\"\\\u{8}\u{c}\n\r\t\u{1}\u{7f}"), owned("", "")]);
    assert_eq!(index(r#"{"manifests":[],"annotations":{}}"#).expect("valid").annotations.into_json(), None);
    for other in ["", "[]", "{", r#"{"a":1}"#] {
        assert!(for_each(other.as_bytes(), |_, _| {}).is_err(), "{other}");
    }
}

#[test]
fn types_of_artifacts_are_bounded() {
    let of = |length: usize| "x".repeat(length);
    let own = |length| format!(r#"{{"config":{{c}},"artifactType":"{}"}}"#, of(length));
    let of_config = |length| format!(r#"{{"config":{{"mediaType":"{}","digest":"{{1}}","size":2}}}}"#, of(length));
    assert!(image(&own(MAX_ARTIFACT_TYPE)).is_ok());
    assert!(image(&of_config(MAX_ARTIFACT_TYPE)).is_ok());
    let want = "an artifactType, or the media type of a config, of more than 255 bytes";
    assert_eq!(why(image(&own(MAX_ARTIFACT_TYPE + 1))), want);
    assert_eq!(why(image(&of_config(MAX_ARTIFACT_TYPE + 1))), want);
    assert_eq!(why(index(&format!(r#"{{"manifests":[],"artifactType":"{}"}}"#, of(MAX_ARTIFACT_TYPE + 1)))), want);
    // Only JSON is asked for, and then it has none.
    let lax = read(filled(&own(MAX_ARTIFACT_TYPE + 1)).as_bytes(), IMAGE, Strictness::Lax).expect("taken");
    assert_eq!((lax.artifact_type, lax.subject), (None, None));
}

#[test]
fn references_stand_in_order_of_appearance() {
    let info = image(r#"{"layers":[{l}],"config":{c}}"#).expect("valid");
    assert_eq!(references(&info), ["layers[0] blob! {2}", "config blob! {1}"]);
}

#[test]
fn what_may_be_absent() {
    for template in [
        r#"{"config":{c}}"#,
        r#"{"config":{c},"layers":[]}"#,
        r#"{"config":{c},"layers":null,"subject":null,"annotations":null,"artifactType":null}"#,
        r#"{"config":{c},"artifactType":""}"#,
        r#"{"config":{c},"manifests":null,"fsLayers":null}"#,
    ] {
        let info = image(template).expect(template);
        assert_eq!(references(&info), ["config blob! {1}"]);
        assert_eq!((info.subject, info.annotations), (None, Annotations::default()));
        assert_eq!(info.artifact_type.as_deref(), Some("app/config"));
    }
    for template in [
        r#"{"manifests":[]}"#,
        r#"{"manifests":null,"artifactType":""}"#,
        r#"{"manifests":[],"layers":null,"config":null}"#,
    ] {
        let info = index(template).expect(template);
        assert_eq!((info.references, info.artifact_type), (Vec::new(), None));
    }
}

#[test]
fn an_index_lists_manifests_and_anything_else() {
    let entry = |media_type: &str| format!(r#"{{"size":3,"digest":"{{2}}","mediaType":"{media_type}"}}"#);
    let entries = [
        entry(IMAGE),
        entry(DOCKER_IMAGE),
        entry(INDEX),
        entry(DOCKER_LIST),
        entry("application/xml"),
        entry("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
    ]
    .join(",");
    for media_type in [INDEX, DOCKER_LIST] {
        let info = typed(&format!(r#"{{"manifests":[{entries}]}}"#), media_type).expect("valid");
        let want = [
            "manifests[0] manifest! {2}",
            "manifests[1] manifest! {2}",
            "manifests[2] manifest! {2}",
            "manifests[3] manifest! {2}",
            "manifests[4] unknown! {2}",
            "manifests[5] unknown! {2}",
        ];
        assert_eq!(references(&info), want);
    }
}

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
    // Nothing is known of other types.
    assert!(typed(&format!("{{{config},{layers},{manifests},{fs_layers}}}"), "application/json").is_ok());
}

#[test]
fn the_type_is_that_of_the_document() {
    let of =
        |content: &str, declared: &str| media_type(content.as_bytes(), declared).map_err(|error| error.to_string());
    let named = |name: &str| format!(r#"{{"mediaType":"{name}"}}"#);
    for (content, declared, want) in [
        (named(IMAGE), IMAGE, IMAGE),
        (named(IMAGE), "", IMAGE),
        (named(IMAGE), "Application/VND.oci.image.manifest.v1+JSON; charset=utf-8", IMAGE),
        (named("a/b;c=d"), "a/B ; x", "a/b"),
        ("{}".into(), "application/json ; charset=utf-8", "application/json"),
        ("{}".into(), "", "application/octet-stream"),
        ("{}".into(), " ; charset=utf-8", "application/octet-stream"),
        (String::new(), "a/b", "a/b"),
        ("[1]".into(), "a/b", "a/b"),
        (r#"{"mediaType":5,"x":{"mediaType":"c/d"}}"#.into(), "a/b", "a/b"),
        (r#"{"mediaType":null}"#.into(), "a/b", "a/b"),
        (r#"{"mediaType":"","y":[{}]}"#.into(), "a/b", "a/b"),
        (r#"{"x":[[["#.into(), "a/b", "a/b"),
        (r#"{"mediaTyp\u0065":"c\/d"}"#.into(), "", "c/d"),
    ] {
        assert_eq!(of(&content, declared).as_deref(), Ok(want), "{content} as {declared}");
    }
    for declared in [INDEX, "application/json", "application/octet-stream", "application/x-www-form-urlencoded"] {
        let error = of(&named(IMAGE), declared).expect_err("another type");
        assert!(error.contains(declared) && error.contains(IMAGE), "{error}");
        assert!(read(named(IMAGE).as_bytes(), declared, Strictness::Lax).is_err());
    }
    assert!(of(r#"{"mediaType":"a/b","mediaType":"a/b"}"#, "a/b").is_err_and(|error| error.contains("twice")));
    let long = "a".repeat(256);
    for bad in ["a\\u000ab", "a\\u00e9b", &long] {
        assert!(of(&named(&bad.replace("\\\\", "\\")), "").is_err(), "{bad}");
    }
    assert!(of("{}", &long).is_err());
    assert!(of("{}", "caf\u{e9}/b").is_err());
}

#[test]
fn layers_kept_elsewhere_are_not_required() {
    let info = image(
        r#"{"config":{c},"layers":[
            {"size":3,"digest":"{2}","mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"},
            {"size":3,"digest":"{2}","mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}]}"#,
    );
    let want = ["config blob! {1}", "layers[0] blob {2}", "layers[1] blob {2}"];
    assert_eq!(references(&info.expect("valid")), want);
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
fn other_fields_are_held_to_their_types() {
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
        (r#"{"manifests":[],"manifests":[]}"#, "manifests stands there twice"),
        (r#"{"manifests":[],"manif\u0065sts":[]}"#, "manifests stands there twice"),
        (r#"{"Manifests":[]}"#, "a key that differs from manifests in case alone"),
        (r#"{"subject":null,"subject":{c}}"#, "subject stands there twice"),
        (r#"{"annotations":{"a":"1","a":"2"}}"#, "a key of annotations stands there twice"),
        (r#"{"manifests":[{"mediaType":"a","digest":"{1}","digest":"{2}","size":2}]}"#, "digest stands there twice"),
        (
            r#"{"manifests":[{"mediaType":"a","digest":"{1}","Digest":"{2}","size":2}]}"#,
            "a key that differs from digest in case alone",
        ),
    ] {
        assert_eq!(why(index(template)), want, "{template}");
    }
    // What is not read may be there twice, and annotations differ by case.
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
fn docker_types_are_held_to_their_parts() {
    let schema2 = typed(
        r#"{"schemaVersion":2,"config":{c},"layers":[{l},{"digest":"{1}"},{"digest":"{2}","size":0,
            "mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}],"x":{"digest":"{2}"},
            "subject":{c},"annotations":5,"artifactType":5}"#,
        DOCKER_IMAGE,
    )
    .expect("valid");
    assert_eq!(schema2.kind, ManifestKind::Image);
    let want = ["config blob! {1}", "layers[0] blob! {2}", "layers[1] blob! {1}", "layers[2] blob {2}"];
    assert_eq!(references(&schema2), want);
    assert_eq!((schema2.subject, schema2.artifact_type, schema2.annotations), (None, None, Annotations::default()));
    let list = other(r#"{"manifests":[{l}]}"#, "application/vnd.docker.distribution.manifest.list.v2+json; q=1");
    assert_eq!((list.kind, list.media_type.as_str()), (ManifestKind::Index, DOCKER_LIST));
    let schema1 = other(
        r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"{1}"},{"blobSum":"{2}"}],"history":[{"v1Compatibility":"{}"}]}"#,
        SCHEMA_1,
    );
    assert_eq!(references(&schema1), ["fsLayers[0] blob! {1}", "fsLayers[1] blob! {2}"]);
    let artifact = other(r#"{"blobs":[{l}],"subject":{c},"annotations":{"a":"b"}}"#, ARTIFACT);
    assert_eq!(references(&artifact), ["blobs[0] blob {2}", "subject unknown {1}"]);
    assert_eq!((artifact.subject, artifact.annotations), (None, Annotations::default()));
    for (template, media_type, want) in [
        ("foo", DOCKER_IMAGE, "expected ident"),
        (r#"{"config":{"digest":"x"}}"#, DOCKER_IMAGE, "bad descriptor in config: invalid digest \"x\""),
        (r#"{"manifests":[{}]}"#, DOCKER_LIST, "bad descriptor in manifests[0]: invalid digest \"\""),
        (r#"{"manifests":[],"Manifests":[]}"#, DOCKER_LIST, "a key that differs from manifests in case alone"),
        ("foo", SCHEMA_1, "expected ident"),
    ] {
        assert_eq!(why(typed(template, media_type)), want, "{template}");
    }
}

#[test]
fn sizes_are_kept() {
    let sizes = |info: ManifestInfo| info.references.iter().map(|reference| reference.size).collect::<Vec<_>>();
    assert_eq!(sizes(image(r#"{"config":{c},"layers":[{l}]}"#).expect("valid")), [Some(2), Some(3)]);
    let docker = typed(r#"{"config":{"digest":"{1}"},"layers":[{"digest":"{2}","size":7}]}"#, DOCKER_IMAGE);
    assert_eq!(sizes(docker.expect("valid")), [None, Some(7)]);
    let found = other(
        r#"{"a":{"size":5,"digest":"{1}"},"b":[{"digest":"{2}","size":6}],"c":{"digest":"{1}","x":{"size":7}},
            "d":{"digest":"{1}","size":-1},"e":{"digest":"{1}","size":"9"},"f":{"size":8,"digest":"x"}}"#,
        "a/b",
    );
    assert_eq!(sizes(found), [Some(5), Some(6), None, None, None]);
}

#[test]
fn any_other_json_is_searched_for_digests() {
    let info = other(
        r#"{"config":{c},"a":[[{"b":{"digest":"{2}"}}],{"digest":["{1}"]},{"digest":"x"}],"digest":"{2}",
            "blobSum":"{1}","sum":"{1}","e\u0073c":{"digest":"{1}"},"n":[1,-1,1.5,true,null,"x"]}"#,
        "application/json",
    );
    let want = ["config unknown {1}", "a[0][0].b unknown {2}", ". unknown {2}", ". unknown {1}", "esc unknown {1}"];
    assert_eq!(references(&info), want);
    for template in ["[]", "5", r#""{1}""#, "null"] {
        let info = other(template, "application/json");
        assert_eq!((info.kind, info.references), (ManifestKind::Other, Vec::new()), "{template}");
    }
    assert_eq!(references(&other(r#"[{"digest":"{1}"}]"#, "a/b")), ["[0] unknown {1}"]);
}

#[test]
fn paths_are_bounded_and_printable() {
    let template = format!(r#"{{"{}":[{{"digest":"{D1}"}}]}}"#, "\\u001b".repeat(1000));
    let field = other(&template, "a/b").references[0].field.to_string();
    assert!(field.chars().count() <= 129 && field.starts_with("\\x1b\\x1b"), "{field}");
}

#[test]
fn what_cannot_be_read_is_opaque() {
    let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    for content in ["", "foo", "{", r#"{"digest":"#, "{} {}", &deep] {
        let info = other(content, "application/octet-stream");
        assert_eq!((info.kind, info.references), (ManifestKind::Opaque, Vec::new()));
    }
    let latin1 = read(b"{\"caf\xe9\":1}", "a/b", Strictness::Strict).expect("never refused");
    assert_eq!(latin1.kind, ManifestKind::Opaque);
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

#[test]
fn lax_reading_holds_a_known_type_to_its_json_only() {
    let bad_descriptor =
        format!(r#"{{"config":{{"digest":"sha256:bad"}},"layers":[{{"digest":"sha256:{}"}}]}}"#, "a".repeat(64));
    for media_type in [IMAGE, DOCKER_IMAGE] {
        assert!(read(bad_descriptor.as_bytes(), media_type, Strictness::Strict).is_err());
        let info = read(bad_descriptor.as_bytes(), media_type, Strictness::Lax).expect("JSON");
        assert_eq!((info.kind, info.subject), (ManifestKind::Image, None));
        let found: Vec<_> =
            info.references.iter().map(|reference| (reference.digest.as_str().len(), reference.required)).collect();
        assert_eq!(found, [(71, false)]);
    }

    let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    for not_json in ["", "{", "{} {}", &deep] {
        assert!(read(not_json.as_bytes(), IMAGE, Strictness::Lax).is_err(), "{not_json}");
    }
}

#[test]
fn what_is_stored_is_never_refused() {
    let stored = |template: &str, declared: &str| read_stored(filled(template).as_bytes(), declared);
    let named = format!(r#"{{"mediaType":"{IMAGE}","config":{{c}},"layers":[{{l}}]}}"#);
    for declared in ["", "application/json", INDEX, "caf\u{e9}"] {
        let info = stored(&named, declared);
        assert_eq!((info.media_type.as_str(), info.kind), (IMAGE, ManifestKind::Image), "{declared}");
        assert_eq!(references(&info), ["config blob! {1}", "layers[0] blob! {2}"]);
    }
    // One that names nothing is what its shape says, if it cannot be what was said of it.
    for declared in [INDEX, DOCKER_LIST, SCHEMA_1] {
        let nameless = stored(r#"{"config":{c},"layers":[{l}]}"#, declared);
        assert_eq!((nameless.media_type.as_str(), nameless.kind), (IMAGE, ManifestKind::Image));
        assert_eq!(references(&nameless), ["config blob! {1}", "layers[0] blob! {2}"]);
    }
    assert_eq!(stored(r#"{"manifests":[]}"#, DOCKER_IMAGE).media_type, INDEX);
    for declared in [IMAGE, DOCKER_IMAGE, "application/json"] {
        assert_eq!(stored(r#"{"config":{c},"layers":[{l}]}"#, declared).media_type, declared);
    }
    // Of two shapes: whatever it is, nothing that it names is lost.
    let both = stored(r#"{"config":{c},"manifests":[{l}]}"#, IMAGE);
    assert_eq!(references(&both), ["config unknown {1}", "manifests[0] unknown {2}"]);
    let twice = stored(r#"{"mediaType":"a/b","mediaType":"c/d","x":{l}}"#, "e/f");
    assert_eq!((twice.media_type.as_str(), references(&twice)), ("e/f", vec!["x unknown {2}".to_owned()]));
    let bad = stored(r#"{"config":{},"layers":[{l}]}"#, IMAGE);
    assert_eq!((bad.kind, references(&bad)), (ManifestKind::Image, vec!["layers[0] unknown {2}".to_owned()]));
    for (content, declared, want) in [("foo", IMAGE, IMAGE), ("", "", "application/octet-stream")] {
        let info = stored(content, declared);
        assert_eq!((info.media_type.as_str(), info.kind), (want, ManifestKind::Opaque));
    }
}
