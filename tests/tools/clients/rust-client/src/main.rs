//! Pushes and pulls with oci-client, as wasm runtimes and policy engines in Rust do.
//!
//! ```text
//! rust-client push REFERENCE FILE...            an image whose layers are the files
//! rust-client stream REFERENCE FILE             a blob in chunks, whose digest is not known before; prints it
//! rust-client pull REFERENCE FOLDER             writes the layers as files named by digest
//! rust-client part REFERENCE DIGEST FROM SIZE   writes a part of a blob to the standard output
//! rust-client mount REFERENCE SOURCE DIGEST
//! rust-client referrers REFERENCE@DIGEST        prints the digests of the referrers
//! ```

use std::error::Error;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::IMAGE_LAYER_MEDIA_TYPE;
use oci_client::secrets::RegistryAuth::Anonymous;
use oci_client::{Client, Reference};

type Done = Result<(), Box<dyn Error>>;

/// Bytes of one piece of the stream: not a divisor of the size of the chunks that are sent.
const PIECE: usize = 300_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    // TLS must be configured, although it is not used here.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "there is a TLS provider already")?;
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["push", reference, ref files @ ..] => push(&client, &reference.parse()?, files).await,
        ["stream", reference, file] => stream(&client, &reference.parse()?, file).await,
        ["pull", reference, folder] => pull(&client, &reference.parse()?, folder).await,
        ["part", reference, digest, from, size] => {
            part(&client, &reference.parse()?, digest, from.parse()?, size.parse()?).await
        }
        ["mount", reference, source, digest] => {
            Ok(client.mount_blob(&reference.parse()?, &source.parse()?, digest).await?)
        }
        ["referrers", reference] => referrers(&client, &reference.parse()?).await,
        _ => Err(format!("unknown arguments {arguments:?}").into()),
    }
}

async fn push(client: &Client, reference: &Reference, files: &[&str]) -> Done {
    let layers = files
        .iter()
        .map(|file| Ok(ImageLayer::oci_v1(std::fs::read(file)?, None)))
        .collect::<std::io::Result<Vec<_>>>()?;
    let config = Config::oci_v1(&b"{}"[..], None);
    client.push(reference, &layers, config, &Anonymous, None).await?;
    Ok(())
}

async fn stream(client: &Client, reference: &Reference, file: &str) -> Done {
    let pieces: Vec<_> = std::fs::read(file)?.chunks(PIECE).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let pushed = client.push_blob_stream_chunked(reference, stream::iter(pieces)).await?;
    println!("{}", pushed.blob_digest);
    Ok(())
}

async fn pull(client: &Client, reference: &Reference, folder: &str) -> Done {
    let image = client.pull(reference, &Anonymous, vec![IMAGE_LAYER_MEDIA_TYPE]).await?;
    for layer in image.layers {
        std::fs::write(Path::new(folder).join(layer.sha256_digest()), layer.data)?;
    }
    Ok(())
}

async fn part(client: &Client, reference: &Reference, digest: &str, from: u64, size: u64) -> Done {
    match client.pull_blob_stream_partial(reference, digest, from, Some(size)).await? {
        BlobResponse::Full(_) => Err("the whole blob was sent".into()),
        BlobResponse::Partial(mut part) => {
            while let Some(piece) = part.try_next().await? {
                std::io::stdout().write_all(&piece)?;
            }
            Ok(())
        }
    }
}

async fn referrers(client: &Client, reference: &Reference) -> Done {
    for entry in client.pull_referrers(reference, None).await?.manifests {
        println!("{}", entry.digest);
    }
    Ok(())
}
