//! Every route × {its owner, another user, nobody, plans, an admin}: who may do what.
//!
//! The routes come from the description that the running API serves, what is expected from a rule; a route that the rule cannot
//! place fails the test. Not here: what a route does, and what it says to bodies that are wrong (`described.rs`).

mod people;

use crate::account;
use crate::api;
use std::collections::BTreeSet;

use account::PASSWORD;
use api::{Api, answer};
use control_api::users::Plan;
use people::{Person, Things};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

/// Routes for everybody, and what each answers to the request of [`body`]: the same to all callers.
const PUBLIC: &[(&str, u16)] = &[
    ("GET /.well-known/jwks.json", 200),
    ("POST /api/v1/auth/forgot-password", 202),
    // Not set up here.
    ("GET /api/v1/auth/google", 404),
    ("GET /api/v1/auth/google/callback", 404),
    ("POST /api/v1/auth/google/exchange", 401),
    ("POST /api/v1/auth/login", 200),
    // No such token.
    ("POST /api/v1/auth/refresh", 401),
    ("POST /api/v1/auth/register", 202),
    ("POST /api/v1/auth/reset-password", 400),
    ("POST /api/v1/auth/verify-email", 400),
    ("POST /api/v1/auth/verify-email/resend", 202),
    ("GET /api/v1/openapi.json", 200),
    ("GET /api/v1/version", 200),
    ("GET /health/live", 200),
    ("GET /health/ready", 200),
    ("GET /metrics", 200),
];

/// A small valid body for each route that takes one.
fn body(route: &str, owner: &Person) -> Option<Value> {
    let secret = "A".repeat(43);
    Some(match route {
        "POST /api/v1/auth/register" => account::registration("new@example.org"),
        "POST /api/v1/auth/login" => json!({"email": owner.email, "password": PASSWORD}),
        "POST /api/v1/auth/forgot-password" | "POST /api/v1/auth/verify-email/resend" => {
            json!({"email": owner.email})
        }
        "POST /api/v1/auth/refresh" => json!({"refresh_token": format!("{}.{secret}", Uuid::now_v7())}),
        "POST /api/v1/auth/google/exchange" => json!({"code": secret}),
        "POST /api/v1/auth/verify-email" => json!({"token": secret}),
        "POST /api/v1/auth/reset-password" => json!({"token": secret, "password": "Another-horse-2"}),
        "POST /api/v1/auth/change-password" => {
            json!({"current_password": PASSWORD, "new_password": "Another-horse-2"})
        }
        "DELETE /api/v1/users/me" => json!({"password": PASSWORD}),
        "PATCH /api/v1/users/me" => json!({"first_name": "Eve"}),
        "PATCH /api/v1/users/me/preferences" => json!({"language": "fr"}),
        "PUT /api/v1/users/me/cv" => json!({"text": "Another CV"}),
        "POST /api/v1/interviews" | "PATCH /api/v1/interviews/{id}" => json!({"title": "Another title"}),
        "PATCH /api/v1/admin/users/{id}" => json!({"plan": "pro"}),
        _ => return None,
    })
}

/// What a query must have.
fn parameter(name: &str, owner: &Person) -> Option<String> {
    Some(match name {
        "email" => owner.email.clone(),
        "q" => "Rust".to_owned(),
        "format" => "txt".to_owned(),
        _ => return None,
    })
}

/// Which thing of the owner's is meant by `{id}`.
fn thing<'a>(path: &str, things: &'a Things) -> Option<&'a str> {
    let of = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("{id}"));
    [
        ("/api/v1/interviews/", &things.interview),
        ("/api/v1/history/", &things.session),
        ("/api/v1/auth/sessions/", &things.login),
        ("/api/v1/admin/users/", &things.user),
    ]
    .into_iter()
    .find_map(|(prefix, id)| of(prefix).then_some(id.as_str()))
}

/// Who calls. The plan makes no difference to what one may ask for; what it allows in a month is counted elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Caller {
    Elite,
    Pro,
    Free,
    Another,
    Nobody,
    Admin,
}

const CALLERS: [(Caller, &str); 6] = [
    (Caller::Elite, "owner, elite"),
    (Caller::Pro, "owner, pro"),
    (Caller::Free, "owner, free"),
    (Caller::Another, "another user"),
    (Caller::Nobody, "anonymous"),
    (Caller::Admin, "admin"),
];

/// What a route answers to a caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Status(u16),
    /// Exactly what it answers to the id of nothing.
    AsMissing,
}

/// A route, as described.
struct Route<'a> {
    name: String,
    method: Method,
    path: &'a str,
    operation: &'a Value,
}

impl Route<'_> {
    /// The rule.
    fn expected(&self, caller: Caller) -> Result<Expected, String> {
        let public = PUBLIC.iter().find(|(name, _)| *name == self.name);
        let secured = self.operation["security"].as_array().is_some_and(|needed| !needed.is_empty());
        match (secured, public) {
            (false, Some((_, status))) => return Ok(Expected::Status(*status)),
            (false, None) => return Err("it needs no token, and is not listed as public".to_owned()),
            (true, Some(_)) => return Err("it is listed as public, and needs a token".to_owned()),
            (true, None) => {}
        }
        let done = self.done()?;
        let for_admins = self.path.contains("/admin/");
        let of_somebody = self.path.contains('{');
        Ok(match caller {
            Caller::Nobody => Expected::Status(401),
            Caller::Admin if for_admins => done,
            _ if for_admins => Expected::Status(403),
            Caller::Another | Caller::Admin if of_somebody => Expected::AsMissing,
            // Without an id it is about the caller.
            _ => done,
        })
    }

    /// The one way in which it is done.
    fn done(&self) -> Result<Expected, String> {
        let statuses = self.operation["responses"].as_object().into_iter().flatten();
        let done: Vec<_> = statuses.filter(|(status, _)| status.starts_with(['2', '3'])).collect();
        match done[..] {
            [(status, _)] => {
                Ok(Expected::Status(status.parse().map_err(|_| format!("{status} is no status"))?))
            }
            _ => Err(format!("it describes {} ways to be done, which the rule does not know", done.len())),
        }
    }

    /// Its path, with the owner's ids and what the query must have.
    fn target(&self, owner: &Person, things: &Things) -> Result<String, String> {
        let mut target = self.path.to_owned();
        if let Some(id) = thing(self.path, things) {
            target = target.replacen("{id}", id, 1);
        }
        if target.contains('{') {
            return Err("its path has a parameter that `thing` does not know".to_owned());
        }
        let parameters = self.operation["parameters"].as_array().into_iter().flatten();
        for needed in parameters.filter(|it| it["in"] == "query" && it["required"] == true) {
            let name = needed["name"].as_str().unwrap();
            let value = parameter(name, owner).ok_or(format!("`parameter` does not know `{name}`"))?;
            target += if target.contains('?') { "&" } else { "?" };
            target += &format!("{name}={value}");
        }
        Ok(target)
    }
}

/// Status and body of what `caller` gets.
async fn ask(
    api: &Api,
    route: &Route<'_>,
    target: &str,
    caller: Option<&Person>,
    owner: &Person,
) -> Result<(u16, String), String> {
    let mut request = api.request(route.method.clone(), target);
    if let Some(caller) = caller {
        request = request.bearer_auth(&caller.token);
    }
    match (body(&route.name, owner), route.operation["requestBody"].is_object()) {
        (Some(body), true) => request = request.json(&body),
        (None, false) => {}
        (None, true) => return Err("it takes a body, and `body` has none for it".to_owned()),
        (Some(_), false) => return Err("`body` has one for it, and it takes none".to_owned()),
    }
    let response = request.send().await.unwrap();
    Ok((response.status().as_u16(), response.text().await.unwrap()))
}

/// A refusal without what differs from request to request.
fn refusal(text: &str, id: &str) -> Value {
    let mut body: Value = serde_json::from_str(&text.replace(id, "ID")).unwrap();
    for name in ["timestamp", "path"] {
        assert!(body.as_object_mut().unwrap().remove(name).is_some(), "{text}");
    }
    body
}

/// Asks as one caller, of fresh people, and checks all that holds of the answer; the status.
async fn check(api: &Api, route: &Route<'_>, caller: Caller) -> Result<u16, String> {
    let expected = route.expected(caller)?;
    let plan = match caller {
        Caller::Elite => Plan::Elite,
        Caller::Pro => Plan::Pro,
        _ => Plan::Free,
    };
    let owner = Person::new(api, plan, false).await;
    let things = owner.things(api).await;
    let asks = match caller {
        Caller::Elite | Caller::Pro | Caller::Free => Some(owner.clone()),
        Caller::Another => Some(Person::new(api, Plan::Free, false).await),
        Caller::Admin => Some(Person::new(api, Plan::Free, true).await),
        Caller::Nobody => None,
    };
    if let Some(asks) = asks.as_ref().filter(|asks| asks.id != owner.id) {
        asks.things(api).await;
    }
    let target = route.target(&owner, &things)?;
    let before = owner.everything(api).await;
    let (status, text) = ask(api, route, &target, asks.as_ref(), &owner).await?;
    match expected {
        Expected::Status(expected) if status != expected => {
            return Err(format!("{status} for {expected}: {text}"));
        }
        Expected::Status(_) => {}
        Expected::AsMissing => {
            let id = thing(route.path, &things).unwrap();
            let missing = Uuid::now_v7().to_string();
            let target = target.replacen(id, &missing, 1);
            let nothing = ask(api, route, &target, asks.as_ref(), &owner).await?;
            if status != 404 || (status, refusal(&text, id)) != (nothing.0, refusal(&nothing.1, &missing)) {
                return Err(format!("{status} {text} differs from {nothing:?}"));
            }
        }
    }
    let public = PUBLIC.iter().any(|(name, _)| *name == route.name);
    let allowed = route.path.contains("/admin/") && caller == Caller::Admin;
    if !owner_asks(caller) && !public && !allowed {
        // What the caller sent comes back as `path`.
        let told = thing(route.path, &things).map_or(text.clone(), |id| text.replace(id, "ID"));
        if let Some(seen) = owner.secrets().iter().find(|secret| told.contains(*secret)) {
            return Err(format!("it shows the owner's {seen}: {text}"));
        }
        if owner.everything(api).await != before {
            return Err("it changed something of the owner's".to_owned());
        }
    }
    Ok(status)
}

fn owner_asks(caller: Caller) -> bool {
    matches!(caller, Caller::Elite | Caller::Pro | Caller::Free)
}

#[tokio::test]
async fn each_route_answers_each_caller_as_the_rule_says() {
    let api = Api::start().await;
    let (status, document) = answer(api.get("/api/v1/openapi.json")).await;
    assert_eq!(status, StatusCode::OK);
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            routes.push(Route { name: format!("{method} {path}"), method, path, operation });
        }
    }
    let names: BTreeSet<_> = routes.iter().map(|route| route.name.as_str()).collect();
    for (name, _) in PUBLIC {
        assert!(names.contains(name), "{name} is listed as public, and is no route");
    }
    let mut wrong = Vec::new();
    let head = CALLERS.map(|(_, name)| format!("{name:>12}")).join(" ");
    println!("{:40} {head}", "route");
    for route in &routes {
        let mut row = format!("{:40}", route.name);
        for (caller, name) in CALLERS {
            match check(&api, route, caller).await {
                Ok(status) => row += &format!(" {status:>12}"),
                Err(why) => {
                    row += &format!(" {:>12}", "WRONG");
                    wrong.push(format!("{} for {name}: {why}", route.name));
                }
            }
        }
        println!("{row}");
    }
    println!("{} routes, {} callers each", routes.len(), CALLERS.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(routes.len() >= 44, "{}: a lost route is missed", routes.len());
}

#[test]
fn a_route_that_nobody_placed_is_not_let_through() {
    let check = |name: &str, path: &'static str, operation: Value| {
        let route = Route { name: name.to_owned(), method: Method::GET, path, operation: &operation };
        CALLERS.map(|(caller, _)| route.expected(caller)).into_iter().filter(Result::is_err).count()
    };
    let responses = json!({"200": {}, "401": {}});
    let secured = json!([{"bearer": []}]);
    assert_eq!(check("GET /new", "/new", json!({"responses": responses})), 6, "public without being listed");
    assert_eq!(check("GET /new", "/new", json!({"responses": responses, "security": []})), 6);
    let both = json!({"responses": responses, "security": secured});
    assert_eq!(check("GET /metrics", "/metrics", both.clone()), 6, "listed as public, and secured");
    assert_eq!(check("GET /new", "/new", both), 0);
    let two = json!({"responses": {"200": {}, "202": {}}, "security": secured});
    assert_eq!(check("GET /new", "/new", two), 6, "done in two ways");
}
