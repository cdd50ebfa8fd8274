//! What is read from images and indexes that are accepted.

use super::super::{Annotations, ManifestInfo, ManifestKind, for_each};
use super::{
    ARTIFACT, D1, D2, DOCKER_IMAGE, DOCKER_LIST, IMAGE, INDEX, SCHEMA_1, image, index, other, references, typed, why,
};

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
fn annotations_are_not_longer_than_in_the_manifest() {
    // The result has the shortest form of each character.
    let written = r#"{ "a\/b" : "\u0041\u00e9\ud83d\ude00", "c" : "\"\\\b\f\n\r\t\u0001\u007f", "" : "" }"#;
    let annotations = index(&format!(r#"{{"manifests":[],"annotations":{written}}}"#)).expect("valid").annotations;
    let shortest = "{\"a/b\":\"Aé😀\",\"c\":\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\u{7f}\",\"\":\"\"}";
    assert_eq!(annotations.json(), Some(shortest));
    let again = index(&format!(r#"{{"manifests":[],"annotations":{shortest}}}"#)).expect("valid").annotations;
    assert_eq!(again, annotations);
    let mut found = Vec::new();
    for_each(shortest.as_bytes(), |key, value| found.push((key.to_owned(), value.to_owned()))).expect("valid");
    let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(found, [owned("a/b", "Aé😀"), owned("c", "\"\\\u{8}\u{c}\n\r\t\u{1}\u{7f}"), owned("", "")]);
    assert_eq!(index(r#"{"manifests":[],"annotations":{}}"#).expect("valid").annotations.into_json(), None);
    for other in ["", "[]", "{", r#"{"a":1}"#] {
        assert!(for_each(other.as_bytes(), |_, _| {}).is_err(), "{other}");
    }
}

#[test]
fn references_are_in_order_of_appearance() {
    let info = image(r#"{"layers":[{l}],"config":{c}}"#).expect("valid");
    assert_eq!(references(&info), ["layers[0] blob! {2}", "config blob! {1}"]);
}

#[test]
fn optional_fields_may_be_absent() {
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
fn an_index_lists_manifests_and_other_contents() {
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
fn non_distributable_layers_are_not_required() {
    let info = image(
        r#"{"config":{c},"layers":[
            {"size":3,"digest":"{2}","mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"},
            {"size":3,"digest":"{2}","mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}]}"#,
    );
    let want = ["config blob! {1}", "layers[0] blob {2}", "layers[1] blob {2}"];
    assert_eq!(references(&info.expect("valid")), want);
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
fn docker_manifests_must_have_their_parts() {
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
        (r#"{"manifests":[],"Manifests":[]}"#, DOCKER_LIST, "a key that differs from manifests only in case"),
        ("foo", SCHEMA_1, "expected ident"),
    ] {
        assert_eq!(why(typed(template, media_type)), want, "{template}");
    }
}
