//! Signing keys in a folder, their change, and the JWK Set as another program reads it.
//!
//! Not here: forged tokens (`forged_tokens.rs`).

use crate::api;
use std::{
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use api::Api;
use control_api::auth::{AccessTokens, KeyFolder, SigningKey};

#[test]
fn a_rotation_logs_nobody_out_and_old_keys_go() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFolder::open(folder.path().join("keys")).unwrap();
    let files = || pems(&folder.path().join("keys"));
    let first = files().remove(0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&first), mode(first.parent().unwrap())), (0o600, 0o700));
    made(&first, MONTH);

    let tokens = AccessTokens::new("us", "api", keys.keys().unwrap());
    let (old, _) = tokens.issue("ann", "phone").unwrap();
    // Another node, which reads the folder later.
    let other = AccessTokens::new("us", "api", keys.keys().unwrap());

    tokens.replace_keys(keys.rotate().unwrap());
    assert_eq!(files().len(), 2);
    let (announced, _) = tokens.issue("ann", "phone").unwrap();
    assert_eq!(kid(&announced), kid(&old), "a new key is published before it signs");
    assert_eq!(tokens.jwks()["keys"].as_array().unwrap().len(), 2);
    assert!(other.verify(&announced).is_ok(), "who does not know the new key yet");

    made(&files()[1], Duration::from_secs(7 * 60));
    tokens.replace_keys(keys.keys().unwrap());
    let (new, _) = tokens.issue("ann", "phone").unwrap();
    assert_ne!(kid(&new), kid(&old));
    assert!(tokens.verify(&old).is_ok() && tokens.verify(&new).is_ok());
    assert!(other.verify(&new).is_err());
    other.replace_keys(keys.keys().unwrap());
    assert!(other.verify(&old).is_ok() && other.verify(&new).is_ok());

    // The second one has signed for less than a token's life: the first one stays.
    made(&files()[1], Duration::from_secs(20 * 60));
    tokens.replace_keys(keys.rotate().unwrap());
    assert!(files().len() == 3 && tokens.verify(&old).is_ok());
    made(&files()[1], Duration::from_secs(30 * 60));
    tokens.replace_keys(keys.rotate().unwrap());
    assert!(!first.exists());
    assert!(tokens.verify(&old).is_err() && tokens.verify(&new).is_ok());
}

#[test]
fn keys_that_are_in_the_way_are_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFolder::open(folder.path()).unwrap();
    let file = pems(folder.path()).remove(0);
    let secret = fs::read_to_string(&file).unwrap().lines().nth(1).unwrap().to_owned();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = keys.keys().unwrap_err().to_string();
    assert!(error.contains("chmod 600") && error.contains(".pem"), "{error}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(keys.keys().is_ok());
    fs::write(&file, format!("-----BEGIN PRIVATE KEY-----\nAA{secret}\n-----END PRIVATE KEY-----")).unwrap();
    let error = keys.keys().unwrap_err().to_string();
    assert!(error.contains(".pem") && !error.contains(&secret[5..]), "{error}");
    fs::remove_file(&file).unwrap();
    assert!(keys.keys().unwrap_err().to_string().contains("none"));
    assert!(KeyFolder::open(folder.path()).unwrap().keys().is_ok(), "a start makes one");
}

#[test]
fn weak_and_other_keys_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (algorithm, option) in
        [("RSA", Some("rsa_keygen_bits:1024")), ("EC", Some("ec_paramgen_curve:P-256")), ("ed448", None)]
    {
        let path = folder.path().join(algorithm);
        openssl_key(&path, algorithm, option);
        assert!(SigningKey::from_pem(&fs::read_to_string(path).unwrap()).is_err(), "{algorithm}");
    }
}

/// Node's `crypto`, which is OpenSSL's, reads the JWK Set and checks tokens of each key.
#[tokio::test(flavor = "multi_thread")]
async fn another_program_checks_tokens_with_the_jwk_set() {
    let folder = tempfile::tempdir().unwrap();
    openssl_key(&folder.path().join("1.pem"), "ed25519", None);
    openssl_key(&folder.path().join("2.pem"), "RSA", Some("rsa_keygen_bits:2048"));
    let keys = KeyFolder::open(folder.path()).unwrap();
    // Both are young: the newest signs.
    let rsa = AccessTokens::new("us", "api", keys.keys().unwrap());
    let (rs256, _) = rsa.issue("ann", "phone").unwrap();
    made(&folder.path().join("1.pem"), MONTH);
    let tokens = Arc::new(AccessTokens::new("us", "api", keys.keys().unwrap()));
    let (eddsa, _) = tokens.issue("ann", "phone").unwrap();
    assert_ne!(kid(&rs256), kid(&eddsa));
    assert!(tokens.verify(&rs256).is_ok() && tokens.verify(&eddsa).is_ok());

    let api = Api::start_with(|state| state.tokens = Arc::clone(&tokens)).await;
    let answer = reqwest::get(format!("{}/.well-known/jwks.json", api.url)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let set = answer.text().await.unwrap();
    for private in ["\"d\"", "\"p\"", "\"q\"", "PRIVATE"] {
        assert!(!set.contains(private), "{private}");
    }
    assert_eq!(checked_by_node(&set, &eddsa), "EdDSA good");
    assert_eq!(checked_by_node(&set, &rs256), "RS256 good");
    let forged = format!("{}.{}", eddsa.rsplit_once('.').unwrap().0, "A".repeat(86));
    assert_eq!(checked_by_node(&set, &forged), "EdDSA bad");
}

fn checked_by_node(set: &str, token: &str) -> String {
    let said = Command::new("node").args(["-e", CHECK, set, token]).output();
    let said = said.expect("this test needs node (Debian: apt-get install nodejs)");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

const CHECK: &str = r#"
const crypto = require("crypto"), [set, token] = process.argv.slice(1), [head, body, signature] = token.split(".");
const header = JSON.parse(Buffer.from(head, "base64url"));
const jwk = JSON.parse(set).keys.find(key => key.kid === header.kid);
const key = crypto.createPublicKey({ key: jwk, format: "jwk" }), hash = { EdDSA: null, RS256: "sha256" }[jwk.alg];
const good = crypto.verify(hash, Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url"));
console.log(header.alg, good ? "good" : "bad");
"#;

fn openssl_key(path: &Path, algorithm: &str, option: Option<&str>) {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", algorithm, "-out"]).arg(path);
    let made = openssl.args(option.iter().flat_map(|option| ["-pkeyopt", option])).output();
    let made = made.expect("this test needs openssl (Debian: apt-get install openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

fn pems(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Makes a file as old as that.
fn made(path: &Path, ago: Duration) {
    fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - ago).unwrap();
}

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
