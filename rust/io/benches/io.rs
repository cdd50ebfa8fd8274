//! Measures the lines of the access log: `cargo bench -p ociserver-io`.

use std::time::SystemTime;

use divan::{Bencher, black_box};
use ociserver_io::log::{Event, Format};

fn main() {
    divan::main();
}

#[divan::bench(args = [Format::Text, Format::Json])]
fn access_line(bencher: Bencher<'_, '_>, format: Format) {
    let event = Event {
        request_id: "ociserver1-123456",
        client: "127.0.0.1",
        method: "GET",
        path: b"/v2/library/alpine/manifests/latest",
        kind: Some("manifest_get"),
        repository: Some("library/alpine"),
        status: 200,
        received: 0,
        sent: 1234,
        duration: 0.000_123,
        user: "",
        via: "",
    };
    let (now, mut line) = (SystemTime::now(), String::new());
    bencher.bench_local(|| {
        line.clear();
        format.access(black_box(now), black_box(&event), &mut line);
        line.len()
    });
}
