//! Tokens that are forged, confused with others, or of somebody who is gone: none is accepted.
//!
//! Each is shown on a socket to `GET /api/v1/users/me`. Not here: keys in a folder (`keys.rs`), routes' own rules.

use crate::{account, api};
use std::sync::Arc;

use account::{bearer, registered};
use api::{Api, answer};
use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use control_api::{
    auth::{AccessTokens, CurrentUser, Login, SigningKey, SigningKeys},
    users::{Plan, Preferences, User},
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_or_confused_token_is_accepted() {
    let world = World::new().await;
    let url = world.url();
    let mut accepted = Vec::new();
    let forged = [
        world.wrong_signatures(),
        world.wrong_headers(),
        world.wrong_claims(),
        world.wrong_texts(),
        world.other_secrets().await,
    ]
    .concat();
    assert!(forged.len() >= 80, "{}", forged.len());
    let (status, body) = show(&url, &world.good()).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["id"]), (200, &json!("ann")), "the good token is good");
    assert_eq!(show(&url, &world.signed_by_rsa(&head("RS256", &world.rsa_kid), &claims())).await.0, 200);
    for (name, token) in &forged {
        let (status, body) = show(&url, token).await;
        if status != 401 {
            accepted.push(format!("{name}: {status}"));
        }
        assert!(!body.contains("canary"), "{name}: {body}");
        // What no header can carry is asked without one.
        if let Ok(current) = CurrentUser::of_token(&world.api.state, token).await {
            accepted.push(format!("{name}: as {}", current.id()));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert_eq!(show(&url, &world.good()).await.0, 200, "it is good afterwards, too");
    println!("{} forged or confused tokens, none accepted", forged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_bearer_in_the_header_is_a_login() {
    let world = World::new().await;
    let url = world.url();
    let good = world.good();
    let client = reqwest::Client::new();
    for authorization in [
        format!("Basic {good}"),
        good.clone(),
        format!("Bearer\t{good}"),
        "Bearer".to_owned(),
        format!("Bearer {good} {good}"),
    ] {
        let answer = client.get(&url).header("authorization", authorization).send().await.unwrap();
        assert_eq!(answer.status(), 401);
    }
    let by_query = client.get(format!("{url}?access_token={good}&token={good}")).send().await.unwrap();
    assert_eq!(by_query.status(), 401);
    let by_cookie = client.get(&url).header("cookie", format!("access_token={good}")).send().await.unwrap();
    assert_eq!(by_cookie.status(), 401);
    let any_case = client.get(&url).header("authorization", format!("bEARER {good}")).send().await.unwrap();
    assert_eq!(any_case.status(), 200, "RFC 9110, 11.1");
}

/// An API with two signing keys whose private halves the tests know, and users in all states.
struct World {
    api: Api,
    ed: Ed25519KeyPair,
    ed_kid: String,
    rsa: RsaKeyPair,
    rsa_kid: String,
}

type Case = (&'static str, String);

impl World {
    async fn new() -> Self {
        let der = SigningKey::generate().unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(&der).unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let (first, second) =
            (SigningKey::ed25519(&der).unwrap(), SigningKey::rsa(rsa.as_der().unwrap().as_ref()).unwrap());
        let (ed_kid, rsa_kid) = (first.kid().to_owned(), second.kid().to_owned());
        let keys = SigningKeys::new(first, vec![second]);
        let tokens = Arc::new(AccessTokens::new("us", "api", keys));
        let api = Api::start_with(|state| state.tokens = tokens).await;
        for (id, deleted_at) in [("ann", None), ("bob", None), ("gone", Some(1))] {
            api.state.records().insert(&user(id, deleted_at)).await.unwrap();
        }
        let ended = now() * 1_000 - 1;
        let later = now() * 1_000 + 3_600_000;
        for (id, user_id, revoked_at, expires_at) in [
            ("phone", "ann", None, later),
            ("revoked", "ann", Some(ended), later),
            ("expired", "ann", None, ended),
            ("of-gone", "gone", None, later),
            ("of-nobody", "nobody", None, later),
        ] {
            api.state.records().insert(&login(id, user_id, revoked_at, expires_at)).await.unwrap();
        }
        Self { api, ed, ed_kid, rsa, rsa_kid }
    }

    /// The route under test.
    fn url(&self) -> String {
        format!("{}/api/v1/users/me", self.api.url)
    }

    fn good(&self) -> String {
        self.signed(&self.head(), &claims())
    }

    fn head(&self) -> Value {
        head("EdDSA", &self.ed_kid)
    }

    fn signed(&self, head: &Value, claims: &Value) -> String {
        self.signed_text(&head.to_string(), &claims.to_string())
    }

    fn signed_text(&self, head: &str, claims: &str) -> String {
        self.signed_parts(&URL_SAFE_NO_PAD.encode(head), &URL_SAFE_NO_PAD.encode(claims))
    }

    fn signed_parts(&self, head: &str, claims: &str) -> String {
        let message = format!("{head}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.ed.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn signed_by_rsa(&self, head: &Value, claims: &Value) -> String {
        let message = unsigned(head, claims);
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Signed by somebody else, or not at all.
    fn wrong_signatures(&self) -> Vec<Case> {
        let claims = claims();
        let good = self.good();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let of = |raw: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode(raw));
        let flipped = |at: usize| {
            let mut raw = raw.clone();
            raw[at] ^= 1;
            of(&raw)
        };
        let bob = json!({"sub": "bob", "sid": "phone"});
        let other = self.signed(&self.head(), &with(&bob));
        let public = self.ed.public_key().as_ref();
        let x = URL_SAFE_NO_PAD.encode(public);
        let pem = spki_pem(public);
        let der = self.rsa.public_key();
        let rsa_der: &[u8] = der.as_ref();
        let hs = |secret: &[u8], kid: &str| {
            let message = unsigned(&head("HS256", kid), &claims);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
        };
        let stranger = Ed25519KeyPair::generate().unwrap();
        let by_stranger = {
            let message = unsigned(&self.head(), &claims);
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(stranger.sign(message.as_bytes())))
        };
        let mut cases = vec![
            ("HS256 with the public key", hs(public, &self.ed_kid)),
            ("HS256 with the public key as JWK x", hs(x.as_bytes(), &self.ed_kid)),
            ("HS256 with the public key as PEM", hs(pem.as_bytes(), &self.ed_kid)),
            ("HS256 with the RSA public key", hs(rsa_der, &self.rsa_kid)),
            ("HS256 with no secret", hs(b"", &self.ed_kid)),
            ("HS256 with the kid", hs(self.ed_kid.as_bytes(), &self.ed_kid)),
            ("RS256 with the other key's kid", self.signed_by_rsa(&head("RS256", &self.ed_kid), &claims)),
            ("EdDSA with the other key's kid", self.signed(&head("EdDSA", &self.rsa_kid), &claims)),
            ("EdDSA said, RSA signed", self.signed_by_rsa(&self.head(), &claims)),
            ("RS256 said, EdDSA signed", self.signed(&head("RS256", &self.rsa_kid), &claims)),
            ("RS384 said, RS256 signed", self.signed_by_rsa(&head("RS384", &self.rsa_kid), &claims)),
            ("PS256 said, RS256 signed", self.signed_by_rsa(&head("PS256", &self.rsa_kid), &claims)),
            ("ES256 said, EdDSA signed", self.signed(&head("ES256", &self.ed_kid), &claims)),
            ("a stranger's signature", by_stranger),
            ("no signature", format!("{message}.")),
            ("half a signature", of(&raw[..32])),
            ("a signature without its last byte", of(&raw[..63])),
            ("a signature and a byte", of(&[&*raw, &[0]].concat())),
            ("a signature of zeros", of(&[0; 64])),
            ("the first bit flipped", flipped(0)),
            ("a bit of S flipped", flipped(40)),
            ("the last bit flipped", flipped(63)),
            ("the signature of another token", format!("{message}.{}", other.rsplit_once('.').unwrap().1)),
            ("S plus the group's order", of(&plus_order(&raw))),
        ];
        for alg in ["none", "None", "NONE", "nOnE", "", "null"] {
            let message = unsigned(&head(alg, &self.ed_kid), &claims);
            cases.push(("alg none", format!("{message}.")));
            cases.push(("alg none with a signature", format!("{message}.{signature}")));
        }
        cases
    }

    /// Signed by us, but not as access tokens are.
    fn wrong_headers(&self) -> Vec<Case> {
        let sign = |head: Value| self.signed(&head, &claims());
        let and = |extra: Value| sign(merged(self.head(), &extra));
        let without = |name: &str| {
            let mut head = self.head();
            head.as_object_mut().unwrap().remove(name);
            sign(head)
        };
        let x = URL_SAFE_NO_PAD.encode(self.ed.public_key().as_ref());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.ed_kid});
        let twice = format!(r#"{{"alg":"EdDSA","alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#, self.ed_kid);
        let mut cases = vec![
            ("no kid", without("kid")),
            ("no typ", without("typ")),
            ("no alg", without("alg")),
            ("an embedded key", and(json!({"jwk": jwk}))),
            ("a key elsewhere", and(json!({"jku": "http://127.0.0.1:9/jwks.json"}))),
            ("a certificate elsewhere", and(json!({"x5u": "http://127.0.0.1:9/cert.pem"}))),
            ("an embedded certificate", and(json!({"x5c": ["MIIB"]}))),
            ("a critical extension", and(json!({"crit": ["exp"], "exp": 1}))),
            ("a payload that is not encoded", and(json!({"crit": ["b64"], "b64": false}))),
            ("a payload that is not encoded, not critical", and(json!({"b64": false}))),
            ("nested", and(json!({"cty": "JWT"}))),
            ("compressed", and(json!({"zip": "DEF"}))),
            ("alg twice", self.signed_text(&twice, &claims().to_string())),
            ("a header that is a list", self.signed_text("[]", &claims().to_string())),
            ("a header that is no JSON", self.signed_text("canary", &claims().to_string())),
            ("an empty header", self.signed_parts("", &URL_SAFE_NO_PAD.encode(claims().to_string()))),
        ];
        let kids = [
            "",
            "other",
            "../../../../dev/null",
            "' OR '1'='1",
            "\u{0}",
            "$ne",
            "/etc/passwd",
            "http://127.0.0.1:9/",
        ];
        cases.extend(kids.map(|kid| ("another kid", sign(head("EdDSA", kid)))));
        let kids = [json!(null), json!(["x"]), json!({"$ne": ""}), json!(0), json!(true)];
        cases.extend(kids.map(|kid| ("a kid of another type", and(json!({"kid": kid})))));
        let types = ["JWT", "jwt", "AT+JWT", "application/at+jwt", "at+jwt ", "", "logout+jwt"];
        cases.extend(types.map(|typ| ("another typ", and(json!({"typ": typ})))));
        cases
    }

    /// Signed by us, but not what we say.
    fn wrong_claims(&self) -> Vec<Case> {
        let sign = |claims: &Value| self.signed(&self.head(), claims);
        let and = |extra: Value| sign(&with(&extra));
        let at = now();
        let times = |iat: i64, exp: Value| json!({"iat": iat, "nbf": iat, "exp": exp});
        let mut cases = vec![
            ("another issuer", and(json!({"iss": "them"}))),
            ("a list of issuers", and(json!({"iss": ["us", "them"]}))),
            ("another audience", and(json!({"aud": "other"}))),
            ("an audience of ours and others", and(json!({"aud": ["api", "other"]}))),
            ("a list with our audience", and(json!({"aud": ["api"]}))),
            ("no audience in the list", and(json!({"aud": []}))),
            ("an empty audience", and(json!({"aud": ""}))),
            ("ended", and(times(at - 910, json!(at - 10)))),
            ("ended long ago", and(times(1, json!(901)))),
            ("an end in text", and(json!({"exp": (at + 900).to_string()}))),
            ("an end that is no integer", and(json!({"exp": at as f64 + 900.5}))),
            ("an end before the epoch", and(json!({"exp": -1}))),
            ("an end in 1,000 years", and(json!({"exp": at + 31_557_600_000}))),
            ("the last end of all", and(json!({"exp": i64::MAX}))),
            ("an end beyond all integers", and(json!({"exp": u64::MAX}))),
            ("an end of 1e400", self.signed_text(&self.head().to_string(), &raw_claims("1e400"))),
            ("an end that is null", and(json!({"exp": null}))),
            ("a longer life", and(json!({"exp": at + 86_400}))),
            ("a beginning to come", and(times(at + 600, json!(at + 1_500)))),
            ("only nbf to come", and(json!({"nbf": at + 600}))),
            ("another user, this login", and(json!({"sub": "bob"}))),
            ("a user who never was", and(json!({"sub": "nobody", "sid": "phone"}))),
            ("a login of nobody", and(json!({"sub": "nobody", "sid": "of-nobody"}))),
            ("a login that never was", and(json!({"sid": "other"}))),
            ("a login that was revoked", and(json!({"sid": "revoked"}))),
            ("a login that ended", and(json!({"sid": "expired"}))),
            ("a user who was deleted", and(json!({"sub": "gone", "sid": "of-gone"}))),
            ("a login in bad words", and(json!({"sid": "' OR 1=1 --"}))),
            ("a login that asks", and(json!({"sid": {"$ne": ""}}))),
            ("a long login", and(json!({"sid": "x".repeat(300)}))),
            ("a login with a NUL", and(json!({"sid": "phone\u{0}"}))),
            ("a user that is a number", and(json!({"sub": 1}))),
            ("an empty user", and(json!({"sub": ""}))),
            ("an empty login", and(json!({"sid": ""}))),
            ("an empty id", and(json!({"jti": ""}))),
            ("claims that are a list", self.signed_text(&self.head().to_string(), "[]")),
            ("claims that are no JSON", self.signed_text(&self.head().to_string(), "canary")),
            ("no claims", self.signed_text(&self.head().to_string(), "")),
            ("empty claims", self.signed_text(&self.head().to_string(), "{}")),
        ];
        for name in ["iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(name);
            cases.push(("a claim is missing", sign(&claims)));
        }
        for twice in [r#""sub":"bob","#, r#""sid":"revoked","#, r#""exp":1,"#] {
            let text = claims().to_string().replacen('{', &format!("{{{twice}"), 1);
            cases.push(("a claim twice", self.signed_text(&self.head().to_string(), &text)));
        }
        cases
    }

    /// The good token, written in another way.
    fn wrong_texts(&self) -> Vec<Case> {
        let good = self.good();
        let parts: Vec<&str> = good.split('.').collect();
        let (head, claims) = (self.head().to_string(), with(&json!({"pad": "?>?>~~"})).to_string());
        let padded = self.signed_parts(&URL_SAFE.encode(format!("{head} ")), &URL_SAFE.encode(&claims));
        let standard = self.signed_parts(&STANDARD_NO_PAD.encode(&head), &STANDARD_NO_PAD.encode(&claims));
        assert!(padded.contains('=') && standard.contains(['/', '+']));
        // Bits behind the last byte say nothing, and may not be set.
        let last = good.chars().last().unwrap();
        let table = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = table.chars().nth(table.find(last).unwrap() + 1).unwrap();
        vec![
            ("padded", padded),
            ("the standard alphabet", standard),
            ("a padded signature", format!("{good}==")),
            ("other bits behind the end", format!("{}{next}", &good[..good.len() - 1])),
            ("two parts", format!("{}.{}", parts[0], parts[1])),
            ("one part", parts[0].to_owned()),
            ("no part", String::new()),
            ("dots", "..".to_owned()),
            ("four parts", format!("{good}.")),
            ("a dot before", format!(".{good}")),
            ("five parts, as if encrypted", format!("{}..{}.{}.AAAA", parts[0], parts[1], parts[2])),
            ("detached", format!("{}..{}", parts[0], parts[2])),
            ("two dots", format!("{}..{}.{}", parts[0], parts[1], parts[2])),
            ("a space inside", format!("{}. {}.{}", parts[0], parts[1], parts[2])),
            ("a tab inside", good.replacen('.', ".\t", 1)),
            ("a line's end inside", good.replacen('.', "\n.", 1)),
            ("upper case", good.to_uppercase()),
            ("twice", format!("{good}{good}")),
            (
                "as JSON",
                json!({"payload": parts[1], "signatures": [{"protected": parts[0], "signature": parts[2]}]})
                    .to_string(),
            ),
            ("oversize", self.signed(&self.head(), &with(&json!({"pad": "x".repeat(8_000)})))),
            ("100 kB of dots", ".".repeat(100_000)),
            ("percent-encoded", good.replace('.', "%2E")),
        ]
    }

    /// Secrets of other kinds, those that the API gives out among them.
    async fn other_secrets(&self) -> Vec<Case> {
        let pair = registered(&self.api, "carol@example.org").await;
        let refresh = pair["refresh_token"].as_str().unwrap().to_owned();
        let interview = bearer(self.api.post("/api/v1/interviews", &json!({"title": "Engineer"})), &pair);
        let (status, interview) = answer(interview).await;
        assert_eq!(status, 201, "{interview}");
        let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
        let (status, ticket) = answer(bearer(self.api.post(&path, &json!({})), &pair)).await;
        assert_eq!(status, 201, "{ticket}");
        let (_, mail) = self.api.outbox.mail_to("carol@example.org", 0).await;
        vec![
            ("the secret of a refresh token", refresh.split_once('.').unwrap().1.to_owned()),
            ("a refresh token", refresh),
            ("a ticket", ticket["ticket"].as_str().unwrap().to_owned()),
            ("the link of a mail", account::token_in(&mail)),
            ("the hash of a refresh token", "phone-hash".to_owned()),
            ("the login's id", "phone".to_owned()),
            ("an interview's id", interview["id"].as_str().unwrap().to_owned()),
            ("a kid", self.ed_kid.clone()),
            ("null", "null".to_owned()),
            ("undefined", "undefined".to_owned()),
        ]
    }
}

async fn show(url: &str, token: &str) -> (u16, String) {
    let Ok(value) = reqwest::header::HeaderValue::from_str(&format!("Bearer {token}")) else {
        return (401, "no header can carry it".to_owned());
    };
    match reqwest::Client::new().get(url).header("authorization", value).send().await {
        Ok(answer) if answer.status() == 431 => (401, String::new()),
        Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
        // A server may hang up on a header of 100 kB.
        Err(_) if token.len() > 50_000 => (401, String::new()),
        Err(error) => panic!("{error}"),
    }
}

fn head(alg: &str, kid: &str) -> Value {
    json!({"alg": alg, "typ": "at+jwt", "kid": kid})
}

fn claims() -> Value {
    let at = now();
    json!({"iss": "us", "aud": "api", "sub": "ann", "sid": "phone", "jti": "j", "iat": at, "nbf": at, "exp": at + 900})
}

fn raw_claims(exp: &str) -> String {
    let mut claims = claims();
    claims["exp"] = "EXP".into();
    claims.to_string().replace("\"EXP\"", exp)
}

fn with(extra: &Value) -> Value {
    merged(claims(), extra)
}

fn merged(mut base: Value, extra: &Value) -> Value {
    base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    base
}

fn unsigned(head: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// An Ed25519 public key as `openssl pkey -pubout` writes it.
fn spki_pem(public: &[u8]) -> String {
    let head = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode([&head, public].concat())
    )
}

/// The same signature for those who do not check that S is below the group's order (RFC 8032, 5.1.7).
fn plus_order(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut sum = signature.to_vec();
    let mut carry = 0;
    for (at, byte) in ORDER.iter().enumerate() {
        let digit = u16::from(sum[32 + at]) + u16::from(*byte) + carry;
        sum[32 + at] = (digit & 0xff) as u8;
        carry = digit >> 8;
    }
    sum
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

fn user(id: &str, deleted_at: Option<i64>) -> User {
    User {
        id: id.to_owned(),
        email: format!("{id}@example.org"),
        email_verified: true,
        password_hash: None,
        google_sub: None,
        first_name: id.to_owned(),
        last_name: String::new(),
        plan: Plan::Free,
        admin: false,
        preferences: Preferences::default(),
        terms_accepted_at: 1,
        created_at: 1,
        deleted_at,
    }
}

fn login(id: &str, user_id: &str, revoked_at: Option<i64>, expires_at: i64) -> Login {
    Login {
        id: id.to_owned(),
        user_id: user_id.to_owned(),
        token_hash: format!("{id}-hash"),
        previous_hash: None,
        seed: None,
        user_agent: None,
        renewed_at: 1,
        created_at: 1,
        expires_at,
        revoked_at,
    }
}
