//! Contents of other types, lax reading, and manifests that are stored already.

use super::super::{MAX_DEPTH, ManifestKind, Strictness, media_type, read, read_stored};
use super::{D1, DOCKER_IMAGE, DOCKER_LIST, IMAGE, INDEX, SCHEMA_1, filled, other, references};

#[test]
fn the_media_type_is_that_of_the_document() {
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
fn unreadable_contents_are_opaque() {
    let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    for content in ["", "foo", "{", r#"{"digest":"#, "{} {}", &deep] {
        let info = other(content, "application/octet-stream");
        assert_eq!((info.kind, info.references), (ManifestKind::Opaque, Vec::new()));
    }
    let latin1 = read(b"{\"caf\xe9\":1}", "a/b", Strictness::Strict).expect("never refused");
    assert_eq!(latin1.kind, ManifestKind::Opaque);
}

#[test]
fn lax_reading_checks_only_json_and_foreign_keys() {
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
fn stored_manifests_are_never_refused() {
    let stored = |template: &str, declared: &str| read_stored(filled(template).as_bytes(), declared);
    let named = format!(r#"{{"mediaType":"{IMAGE}","config":{{c}},"layers":[{{l}}]}}"#);
    for declared in ["", "application/json", INDEX, "caf\u{e9}"] {
        let info = stored(&named, declared);
        assert_eq!((info.media_type.as_str(), info.kind), (IMAGE, ManifestKind::Image), "{declared}");
        assert_eq!(references(&info), ["config blob! {1}", "layers[0] blob! {2}"]);
    }
    // A document that names no type, and does not fit the declared one, gets the type that fits its keys.
    for declared in [INDEX, DOCKER_LIST, SCHEMA_1] {
        let nameless = stored(r#"{"config":{c},"layers":[{l}]}"#, declared);
        assert_eq!((nameless.media_type.as_str(), nameless.kind), (IMAGE, ManifestKind::Image));
        assert_eq!(references(&nameless), ["config blob! {1}", "layers[0] blob! {2}"]);
    }
    assert_eq!(stored(r#"{"manifests":[]}"#, DOCKER_IMAGE).media_type, INDEX);
    for declared in [IMAGE, DOCKER_IMAGE, "application/json"] {
        assert_eq!(stored(r#"{"config":{c},"layers":[{l}]}"#, declared).media_type, declared);
    }
    // A document with the keys of two types keeps the references of both.
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
