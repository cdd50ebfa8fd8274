//! The parts and the reading over a bucket in memory. tests/objects has what needs a network.

use std::future::poll_fn;
use std::sync::mpsc;
use std::sync::{Arc, mpsc::Receiver};

use bytes::Bytes;
use ociserver_core::digest::Algorithm;
use ociserver_core::hash::{Hasher, digest_of};
use ociserver_objects::{Added, Bucket, Kind, PartWriter, Parts, Piece, Reading, Upload, runtime};

const SIZE: usize = 1000;
const PARTS: Parts = Parts { size: SIZE, in_flight: 2 };

fn bucket() -> Arc<Bucket> {
    Arc::new(Bucket::in_memory("some/prefix"))
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    runtime::handle().expect("threads").block_on(work)
}

fn writer(bucket: &Arc<Bucket>) -> PartWriter {
    PartWriter::new(Arc::clone(bucket), Hasher::new(Algorithm::Sha256), PARTS, runtime::handle().expect("threads"))
}

fn begun(bucket: &Bucket, key: &str) -> Upload {
    Upload { key: key.into(), id: wait(bucket.create_multipart(key)).expect("an upload") }
}

fn kept(writer: &PartWriter) -> Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    writer.when_kept(Box::new(move || sender.send(()).expect("a receiver")));
    receiver
}

fn content(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

async fn next(reading: &Reading) -> Piece {
    poll_fn(|context| reading.poll_next(context)).await.expect("a piece")
}

fn read(bucket: &Arc<Bucket>, key: &str, length: u64) -> Vec<u8> {
    wait(async {
        let reading = Reading::open(bucket, key, 0..length).await.expect("no error").expect("an object");
        let mut content = Vec::new();
        loop {
            let piece = next(&reading).await;
            if piece.is_empty() {
                return content;
            }
            content.extend(piece.concat());
        }
    })
}

#[test]
fn any_pieces_make_the_same_parts() {
    for piece in [1, 7, SIZE - 1, SIZE, SIZE + 1, 10 * SIZE] {
        let (bucket, data) = (bucket(), content(4 * SIZE + 321));
        let upload = begun(&bucket, "key");
        let writer = writer(&bucket);
        writer.begin(upload.clone());
        data.chunks(piece).for_each(|piece| {
            writer.add(piece);
        });
        kept(&writer).recv().expect("a call");
        assert_eq!(writer.take_error(), None);
        let mut etags = writer.etags();
        assert_eq!(etags.len(), 4);
        assert_eq!(writer.with_tail(<[u8]>::len), 321);
        etags.push(wait(writer.flush_tail()).expect("an etag"));
        wait(bucket.complete("key", &upload.id, etags)).expect("an object");
        assert_eq!(read(&bucket, "key", 1 << 20), data);
        assert_eq!(writer.with_hasher(Hasher::digest), digest_of(Algorithm::Sha256, &data));
    }
}

#[test]
fn a_saved_state_continues() {
    let (bucket, data) = (bucket(), content(3 * SIZE + 5));
    let upload = begun(&bucket, "key");
    let first = writer(&bucket);
    first.begin(upload.clone());
    first.add(&data[..SIZE + 600]);
    kept(&first).recv().expect("a call");
    let hasher = Hasher::resume(&first.with_hasher(Hasher::save)).expect("a state");
    let (etags, tail) = (first.etags(), first.with_tail(<[u8]>::to_vec));
    drop(first);

    let runtime = runtime::handle().expect("threads");
    let stored = (Some(upload.clone()), etags, &tail[..]);
    let second = PartWriter::resume(Arc::clone(&bucket), hasher, PARTS, runtime, stored).expect("a writer");
    second.add(&data[SIZE + 600..]);
    kept(&second).recv().expect("a call");
    let mut etags = second.etags();
    etags.push(wait(second.flush_tail()).expect("an etag"));
    wait(bucket.complete("key", &upload.id, etags)).expect("an object");
    assert_eq!(read(&bucket, "key", 1 << 20), data);
}

#[test]
fn a_tail_that_fills_a_part_is_the_first_one() {
    let (bucket, data) = (bucket(), content(SIZE + 5));
    let first = PartWriter::new(
        Arc::clone(&bucket),
        Hasher::new(Algorithm::Sha256),
        Parts { size: 2 * SIZE, in_flight: 2 },
        runtime::handle().expect("threads"),
    );
    first.add(&data[..SIZE]);
    let hasher = Hasher::resume(&first.with_hasher(Hasher::save)).expect("a state");
    let (runtime, stored) = (runtime::handle().expect("threads"), (None, Vec::new(), &data[..SIZE]));
    let second = PartWriter::resume(Arc::clone(&bucket), hasher, PARTS, runtime, stored).expect("a writer");
    assert_eq!(second.add(&data[SIZE..]), Added { backlog: Some(SIZE), is_first_full: true });
    assert_eq!(second.with_tail(<[u8]>::to_vec), data[SIZE..]);
}

#[test]
fn only_the_first_full_part_asks_for_an_upload() {
    let bucket = bucket();
    let writer = writer(&bucket);
    assert_eq!(writer.add(&content(SIZE - 1)), Added { backlog: Some(0), is_first_full: false });
    assert_eq!(writer.add(b"x"), Added { backlog: Some(SIZE), is_first_full: true });
    assert_eq!(writer.add(&content(SIZE)), Added { backlog: Some(2 * SIZE), is_first_full: false });
    let called = kept(&writer);
    assert!(called.try_recv().is_err());
    writer.begin(begun(&bucket, "key"));
    called.recv().expect("a call");
    assert_eq!(writer.etags().len(), 2);
}

#[test]
fn a_part_that_cannot_be_stored_loses_all() {
    let bucket = bucket();
    let writer = writer(&bucket);
    writer.begin(Upload { key: "key".into(), id: "no number".into() });
    writer.add(&content(SIZE));
    kept(&writer).recv().expect("a call");
    assert!(writer.take_error().is_some());
    assert_eq!(writer.take_error(), None);
    assert_eq!(writer.add(b"x").backlog, None);
}

#[test]
fn what_does_not_exist() {
    let bucket = bucket();
    assert_eq!(wait(bucket.size("key")), Ok(None));
    assert!(wait(Reading::open(&bucket, "key", 0..1)).expect("no error").is_none());
    assert_eq!(wait(bucket.delete(&["key".into()])), Ok(()));
    let error = wait(bucket.sign("key", std::time::Duration::from_secs(1), Vec::new())).expect_err("no signer");
    assert_eq!(error.kind, Kind::Other);
}

#[test]
fn keys_stay_below_the_prefix() {
    let bucket = bucket();
    for key in ["", "../other", "a/../../other", "a//b", "/a/"] {
        let put = wait(bucket.put(key, Bytes::from_static(b"x")));
        let listed = wait(bucket.list("", 10)).expect("a list");
        assert!(put.is_err() || listed.iter().all(|(found, _)| found == "a"), "{key}: {listed:?}");
    }
}

#[test]
fn pieces_are_of_a_bounded_size() {
    let bucket = bucket();
    let data = content(3_000_000);
    wait(bucket.put("key", data.clone().into())).expect("an object");
    wait(async {
        let reading = Reading::open(&bucket, "key", 5..3_000_000).await.expect("no error").expect("an object");
        assert_eq!(reading.size(), 3_000_000);
        let mut rest = &data[5..];
        while !rest.is_empty() {
            let piece = next(&reading).await.concat();
            assert!(piece.len() < 1 << 20 && (piece.len() >= 1 << 19 || piece.len() == rest.len()));
            assert_eq!(piece, rest[..piece.len()]);
            rest = &rest[piece.len()..];
        }
        assert!(next(&reading).await.is_empty());
    });
}
