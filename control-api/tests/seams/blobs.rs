//! What blobs must do, run on a folder and on an S3 server.
//!
//! Not here: who may read a blob.

use crate::s3_server;
use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use control_api::blobs::{BlobError, BlobKey, BlobPrefix, Blobs, S3Settings, folder, s3};
use futures_util::future::join_all;
use s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("made/when/absent");
    suite(&Blobs::new(folder(&root).unwrap(), MAX_BYTES), &root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_s3() {
    let server = S3Server::start().await;
    suite(&in_bucket(&server, SECRET_KEY), &server.bucket_folder()).await;
}

/// `files` is where the blobs lie in the end: what a person or a broken disk could touch.
async fn suite(blobs: &Blobs, files: &Path) {
    what_is_put_comes_back(blobs).await;
    size_is_bounded(blobs).await;
    a_prefix_goes_and_nothing_else(blobs).await;
    damage_is_noticed(blobs, files).await;
    puts_at_once_leave_one_whole_blob(blobs).await;
    nothing_is_left_after_deletion(blobs, files).await;
}

async fn what_is_put_comes_back(blobs: &Blobs) {
    let a = key("put/a.bin");
    assert_eq!(blobs.get(&a).await, Err(BlobError::NotFound));
    let every_byte: Bytes = (0..=255).cycle().take(10_000).collect();
    for content in [every_byte, Bytes::from_static(b"shorter"), Bytes::new()] {
        blobs.put(&a, content.clone()).await.unwrap();
        assert_eq!(blobs.get(&a).await, Ok(content));
    }
    assert_eq!(blobs.get(&key("put/b.bin")).await, Err(BlobError::NotFound));
    blobs.delete(&a).await.unwrap();
    assert_eq!(blobs.get(&a).await, Err(BlobError::NotFound));
    blobs.delete(&a).await.expect("it is gone already, which is what was asked");
}

async fn size_is_bounded(blobs: &Blobs) {
    let a = key("size/a");
    let largest = Bytes::from(vec![1; MAX_BYTES]);
    blobs.put(&a, largest.clone()).await.unwrap();
    let refused = Err(BlobError::TooLarge { max_bytes: MAX_BYTES });
    assert_eq!(blobs.put(&a, vec![2; MAX_BYTES + 1].into()).await, refused);
    assert_eq!(blobs.get(&a).await, Ok(largest));
}

async fn a_prefix_goes_and_nothing_else(blobs: &Blobs) {
    let keys = ["users/1/a", "users/1/b/c", "users/10/a", "users/1x", "others/1/a"].map(key);
    for key in &keys {
        blobs.put(key, "x".into()).await.unwrap();
    }
    assert_eq!(blobs.delete_prefix(&prefix("users/1")).await, Ok(2));
    let left = join_all(keys.iter().map(async |key| blobs.get(key).await.is_ok())).await;
    assert_eq!(left, [false, false, true, true, true]);
    assert_eq!(blobs.delete_prefix(&prefix("users/1")).await, Ok(0));
    assert_eq!(blobs.delete_prefix(&prefix("nobody")).await, Ok(0));
}

async fn damage_is_noticed(blobs: &Blobs, files: &Path) {
    let (a, b) = (key("damage/a"), key("damage/b"));
    blobs.put(&a, "the content of a".into()).await.unwrap();
    blobs.put(&b, "the content of b".into()).await.unwrap();
    let (file_a, file_b) = (files.join("damage/a"), files.join("damage/b"));
    let whole = fs::read(&file_a).unwrap();

    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let swapped = fs::read(&file_b).unwrap();
    let damaged = [flipped, swapped, whole[..whole.len() - 1].to_vec(), whole[..10].to_vec(), Vec::new()];
    for damaged in damaged {
        fs::write(&file_a, &damaged).unwrap();
        assert_eq!(blobs.get(&a).await, Err(BlobError::Damaged), "{} bytes", damaged.len());
    }
    fs::write(&file_a, vec![0; MAX_BYTES + 1000]).unwrap();
    assert_eq!(blobs.get(&a).await, Err(BlobError::TooLarge { max_bytes: MAX_BYTES }));
    fs::write(&file_a, whole).unwrap();
    assert_eq!(blobs.get(&a).await, Ok("the content of a".into()));
}

async fn puts_at_once_leave_one_whole_blob(blobs: &Blobs) {
    let a = key("at-once/a");
    let puts = (0..20_u8).map(|number| blobs.put(&a, vec![number; 50_000].into()));
    for put in join_all(puts).await {
        put.unwrap();
    }
    let content = blobs.get(&a).await.unwrap();
    assert!(content.len() == 50_000 && content.iter().all(|byte| *byte == content[0]));
}

async fn nothing_is_left_after_deletion(blobs: &Blobs, files: &Path) {
    blobs.put(&key("canary/a/b"), "a spoken canary phrase".into()).await.unwrap();
    assert!(holds(files, b"canary phrase"), "the scan sees what is there");
    for top in ["canary", "at-once", "damage", "others", "size", "users"] {
        blobs.delete_prefix(&prefix(top)).await.unwrap();
    }
    assert!(!holds(files, b"canary phrase"));
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_goes_and_comes_back() {
    let mut server = S3Server::start().await;
    let blobs = in_bucket(&server, SECRET_KEY);
    blobs.put(&key("a"), "kept".into()).await.unwrap();
    assert_eq!(blobs.check().await, Ok(()));
    server.stop().await;
    assert!(matches!(blobs.check().await, Err(BlobError::Unavailable(_))));
    let error = blobs.get(&key("a")).await.unwrap_err();
    assert!(matches!(error, BlobError::Unavailable(_)), "{error:?}");
    server.restart().await;
    assert_eq!(blobs.get(&key("a")).await, Ok("kept".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_refuses_a_wrong_secret_and_nobody_shows_it() {
    let server = S3Server::start().await;
    let blobs = in_bucket(&server, "wrong-secret");
    let error = blobs.put(&key("a"), "x".into()).await.unwrap_err();
    assert!(matches!(error, BlobError::Unavailable(_)), "{error:?}");
    let shown = format!("{error} {error:?} {blobs:?} {:?}", settings(&server, "wrong-secret"));
    assert!(!shown.contains("wrong-secret"), "{shown}");
    assert!(!error.to_string().contains(ACCESS_KEY), "{error}");
    assert!(!holds(&server.bucket_folder(), b"x"));
}

#[test]
fn a_folder_is_private_and_forgets_what_a_crash_left() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("blobs");
    folder(&root).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    }
    // What a put that never ended leaves behind, just now by another process, and long ago.
    fs::create_dir(root.join("users")).unwrap();
    let (fresh, old, blob) = (root.join("users/a#1"), root.join("users/a#2"), root.join("users/a"));
    for file in [&fresh, &old, &blob] {
        fs::write(file, "half").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 3600);
    for file in [&old, &blob] {
        fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
    }
    folder(&root).unwrap();
    assert_eq!([fresh, old, blob].map(|file| file.exists()), [true, false, true]);
}

fn in_bucket(server: &S3Server, secret: &str) -> Blobs {
    Blobs::new(s3(&settings(server, secret)).unwrap(), MAX_BYTES)
}

fn settings(server: &S3Server, secret: &str) -> S3Settings {
    S3Settings {
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(server.endpoint()),
        credentials: Some((ACCESS_KEY.to_owned(), secret.to_owned().into())),
    }
}

fn key(key: &str) -> BlobKey {
    BlobKey::new(key).unwrap()
}

fn prefix(prefix: &str) -> BlobPrefix {
    BlobPrefix::new(prefix).unwrap()
}

/// Whether any file under `folder` holds `phrase`.
fn holds(folder: &Path, phrase: &[u8]) -> bool {
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(path).unwrap().windows(phrase.len()).any(|window| window == phrase) {
                return true;
            }
        }
    }
    false
}

const MAX_BYTES: usize = 100_000;
