//! What the log says of an account's whole life, at its most talkative: no secret, no address, no word of anybody's.
//!
//! One test, as a process has one subscriber. Not here: what a request's line does say (`observed.rs`), the settings' secrets (root).

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "common/account.rs"]
mod account;
#[path = "common/api.rs"]
mod api;
#[path = "common/history.rs"]
mod history;
#[path = "common/log.rs"]
mod log;
#[path = "common/python.rs"]
mod python;
#[path = "common/smtp_server.rs"]
mod smtp_server;

use std::{sync::Arc, time::Duration};

use account::{bearer, token_in, user_id};
use api::{Api, answer};
use control_api::{
    history::{Begin, SessionHistory, SessionRecord},
    interviews::redeem,
    mail::{Mail, MailError, Mailer, SmtpMailer, SmtpSettings},
    storage::{Filter, StoreError},
    users::User,
};
use futures_util::future::BoxFuture;
use history::{BEGAN, answer_to, begin, turn};
use log::Log;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use smtp_server::SmtpServer;
use uuid::Uuid;

const EMAIL: &str = "canary.ann@example.org";
const NEVER: &str = "never@canary.example.org";
const PASSWORD: &str = "Canary-password-1";

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_an_accounts_life_has_no_secret_address_or_word_of_it() {
    let log = Log::of_our_crates();
    let smtp = SmtpServer::start("");
    let api = Api::start_with(|state| {
        let refusing = smtp.as_ref().map(|server| mailer(&server.address()));
        let outbox = Arc::clone(&state.mailer);
        state.mailer = Arc::new(Mails { outbox, refusing });
    })
    .await;
    let mut life = Life { api: &api, secrets: Vec::new() };
    life.keep("address", EMAIL);
    life.keep("address", NEVER);
    let pair = life.enters().await;
    life.speaks(&pair).await;
    life.is_refused(&pair).await;
    if smtp.is_some() {
        log.wait_for("a job did not work").await;
    }
    life.leaves(&pair).await;
    log.wait_for("a job is done").await;
    let secrets = life.secrets;

    let text = log.text();
    for seen in [
        "TRACE control_api: the scan reads this level",
        r#"route="/api/v1/auth/login" status=401"#,
        r#"route="/api/v1/history/{id}/export" status=200"#,
    ] {
        assert!(text.contains(seen), "{seen} is missing in\n{text}");
    }
    assert!(secrets.len() >= 30, "{}", secrets.len());
    for (name, secret) in &secrets {
        assert!(secret.len() >= 8, "{name}: too short to be looked for");
        // Not the text, which would be in the test's own log then.
        let line = text.lines().position(|line| line.to_lowercase().contains(&secret.to_lowercase()));
        assert!(line.is_none(), "the log has a {name} in line {}", line.unwrap());
    }
    assert!(!text.to_lowercase().contains("canary"), "some other word of the user's:\n{text}");
    println!("{} lines of log, {} secrets, none in it", text.lines().count(), secrets.len());
}

/// A user's, who does everything.
struct Life<'a> {
    api: &'a Api,
    /// What must not be in the log, with a name for it.
    secrets: Vec<(&'static str, String)>,
}

impl Life<'_> {
    fn keep(&mut self, name: &'static str, secret: &str) {
        self.secrets.push((name, secret.to_owned()));
    }

    /// Sends, and checks the status.
    async fn send(&self, request: RequestBuilder, status: u16) -> Value {
        let (got, body) = answer(request).await;
        assert_eq!(got, status, "{body}");
        body
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.send(self.api.post(&format!("/api/v1/auth/{path}"), &body), status).await
    }

    fn keep_pair(&mut self, pair: &Value) {
        let [access, refresh] = ["access_token", "refresh_token"].map(|name| pair[name].as_str().unwrap());
        let signature = access.rsplit_once('.').unwrap().1;
        self.keep("access token", access);
        self.keep("access token's signature", signature);
        self.keep("refresh token", refresh);
        self.keep("refresh token's secret", refresh.split_once('.').unwrap().1);
    }

    async fn mailed(&mut self, n: usize) -> String {
        let outbox = &self.api.outbox;
        let token = token_in(&outbox.mail_to(EMAIL, n).await.1);
        self.keep("link", &token);
        token
    }

    /// Registers, mistypes, forgets, changes, is known to thieves.
    async fn enters(&mut self) -> Value {
        let registration = |email: &str| json!({"email": email, "password": PASSWORD, "first_name": "Canary-first", "last_name": "Canary-last", "terms_accepted": true});
        for secret in [PASSWORD, "Canary-first", "Canary-last"] {
            self.keep("password or name", secret);
        }
        self.post("register", registration(EMAIL), 202).await;
        self.post("register", registration(NEVER), 202).await;
        let first = self.mailed(0).await;
        self.post("verify-email/resend", json!({"email": EMAIL}), 202).await;
        let second = self.mailed(1).await;
        self.post("verify-email", json!({"token": second}), 200).await;
        self.post("verify-email", json!({"token": first}), 400).await;
        self.post("register", registration(EMAIL), 202).await;
        assert_eq!(self.api.outbox.mail_to(EMAIL, 2).await.0, "You already have an account");
        self.keep("wrong password", "Canary-wrong-2");
        self.post("login", json!({"email": EMAIL, "password": "Canary-wrong-2"}), 401).await;
        self.post("login", json!({"email": "canary.nobody@example.org", "password": PASSWORD}), 401).await;
        let pair = self.post("login", json!({"email": EMAIL, "password": PASSWORD}), 200).await;
        self.keep_pair(&pair);

        self.post("forgot-password", json!({"email": EMAIL}), 202).await;
        let reset = self.mailed(3).await;
        self.keep("new password", "Canary-reset-3");
        self.post("reset-password", json!({"token": reset, "password": "Canary-reset-3"}), 200).await;
        let stolen = self.post("login", json!({"email": EMAIL, "password": "Canary-reset-3"}), 200).await;
        self.keep_pair(&stolen);
        let mut shown = stolen["refresh_token"].clone();
        for _ in 0..2 {
            let next = self.post("refresh", json!({"refresh_token": shown}), 200).await;
            self.keep_pair(&next);
            shown = next["refresh_token"].clone();
        }
        self.post("refresh", json!({"refresh_token": stolen["refresh_token"]}), 401).await;
        let pair = self.post("login", json!({"email": EMAIL, "password": "Canary-reset-3"}), 200).await;
        self.keep_pair(&pair);
        self.keep("changed password", "Canary-changed-4");
        let change = json!({"current_password": "Canary-reset-3", "new_password": "Canary-changed-4"});
        self.send(bearer(self.api.post("/api/v1/auth/change-password", &change), &pair), 204).await;
        pair
    }

    /// Has a CV, plans an interview, is heard, reads it again.
    async fn speaks(&mut self, pair: &Value) {
        let with = |method: Method, path: &str| bearer(self.api.request(method, path), pair);
        let cv = json!({"text": "Canary Lee, ten years of canary breeding"});
        self.send(with(Method::PUT, "/api/v1/users/me/cv").json(&cv), 200).await;
        self.send(with(Method::GET, "/api/v1/users/me/cv"), 200).await;
        let names = json!({"first_name": "Canaryna"});
        self.send(with(Method::PATCH, "/api/v1/users/me").json(&names), 200).await;
        let plan = json!({"title": "Canary keeper", "company": "Canary & Sons", "job_description": "Feed the canary"});
        let create = with(Method::POST, "/api/v1/interviews").header("idempotency-key", "canary-key-1");
        let interview = self.send(create.json(&plan), 201).await;
        let path = format!("/api/v1/interviews/{}/ticket", interview["id"].as_str().unwrap());
        let ticket = self.send(with(Method::POST, &path), 201).await;
        let ticket = ticket["ticket"].as_str().unwrap().to_owned();
        assert!(redeem(&*self.api.state.cache, &ticket).await.unwrap().is_some());
        // Where it does not belong.
        self.send(self.api.get(&format!("/api/v1/users/me?ticket={ticket}")), 401).await;
        self.send(self.api.get(&format!("/nowhere/{ticket}")), 404).await;

        let (user, id) = (user_id(pair), Uuid::now_v7().to_string());
        let kept = SessionHistory::new(&self.api.state);
        let session = kept.begin(&Begin { id: &id, ..begin("canary-session", &user, BEGAN) }).await.unwrap();
        kept.turn(&session, &turn(1, "interviewer", "Why did the canary sing?", 0)).await.unwrap();
        kept.answer(&session, &answer_to(1, 1, "Canary songs are a habit")).await.unwrap();
        kept.end(&session, "client", 4_000, BEGAN + 4_000).await.unwrap();
        let session = self.api.state.records::<SessionRecord>();
        let session = session.find_one(Filter::all().eq("user_id", user.as_str())).await.unwrap().unwrap();
        let path = format!("/api/v1/history/{}", session.id);
        for path in ["/api/v1/history", "/api/v1/history/search?q=canary%20sing", &path] {
            let found = self.send(with(Method::GET, path), 200).await;
            assert_ne!(found["items"], json!([]), "{path}");
        }
        for format in ["txt", "md", "srt", "vtt", "json"] {
            let request = with(Method::GET, &format!("{path}/export?format={format}"));
            let text = request.send().await.unwrap().text().await.unwrap();
            assert!(text.contains("canary"), "{format}");
        }
        self.send(with(Method::DELETE, &path), 204).await;
        for said in ["canary breeding", "canary sing", "canary songs", "feed the canary", "canary keeper"] {
            self.keep("word", said);
        }
        self.keep("ticket", &ticket);
        self.keep("idempotency key", "canary-key-1");
    }

    /// Sends what is not as it must be.
    async fn is_refused(&mut self, pair: &Value) {
        let strange = json!({"email": EMAIL, "password": {"canary": PASSWORD}});
        self.post("login", strange, 400).await;
        self.post("login", json!({"email": "canary at example", "password": PASSWORD}), 400).await;
        self.post("login", json!({"canary-member": PASSWORD}), 400).await;
        self.post("google/exchange", json!({"code": "canary-code-of-a-page"}), 401).await;
        let cut =
            self.api.request(Method::POST, "/api/v1/auth/login").header("content-type", "application/json");
        self.send(cut.body(r#"{"email": "canary@example.org", "password": "Canary"#), 400).await;
        for token in ["canary-token", "eyJhbGciOiJub25lIn0.canary-claims.canary-signature"] {
            self.send(self.api.get("/api/v1/users/me").bearer_auth(token), 401).await;
        }
        let basic = self.api.get("/api/v1/users/me").basic_auth("canary-user", Some("canary-word"));
        self.send(basic, 401).await;
        self.send(self.api.get("/api/v1/auth/google/callback?code=canary-code&state=canary-state"), 404)
            .await;
        let make_admin = |user: &mut User| {
            user.admin = true;
            Ok::<_, StoreError>(())
        };
        self.api.state.records::<User>().update(&user_id(pair), make_admin).await.unwrap();
        for (email, status) in [(EMAIL, 200), ("canary%00", 400)] {
            let find = format!("/api/v1/admin/users?email={email}");
            self.send(bearer(self.api.get(&find), pair), status).await;
        }
    }

    /// Deletes the account, and is erased.
    async fn leaves(&mut self, pair: &Value) {
        let wrong = json!({"password": "Canary-wrong-5"});
        let delete = || bearer(self.api.request(Method::DELETE, "/api/v1/users/me"), pair);
        self.send(delete().json(&wrong), 403).await;
        self.send(delete().json(&json!({"password": "Canary-changed-4"})), 204).await;
        self.send(bearer(self.api.get("/api/v1/users/me"), pair), 401).await;
        let user = user_id(pair);
        for _ in 0..600 {
            if self.api.state.records::<User>().get(&user).await.unwrap().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the account is not erased within 30 s");
    }
}

/// To the outbox; what is for `never@` to a server that refuses it, and names the address as it does.
struct Mails {
    outbox: Arc<dyn Mailer>,
    refusing: Option<SmtpMailer>,
}

impl Mailer for Mails {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>> {
        match &self.refusing {
            Some(refusing) if mail.to == NEVER => refusing.send(mail),
            _ => self.outbox.send(mail),
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MailError>> {
        self.outbox.check()
    }
}

fn mailer(address: &str) -> SmtpMailer {
    SmtpMailer::new(&SmtpSettings::new(format!("smtp://{address}").into(), "no-reply@example.com")).unwrap()
}
