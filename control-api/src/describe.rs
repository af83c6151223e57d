//! What holds for many routes, added to the API's description: the token, the refusals that any route of a kind may give, and
//! that each refusal is a Problem.
//!
//! Not here: what a route does; it says that itself.

use utoipa::openapi::{
    Content, OpenApi, Ref, RefOr, Response,
    path::Operation,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

/// Completes the description of all routes.
pub(crate) fn complete(document: &mut OpenApi) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The access token that a login gives; it works for 15 minutes."))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for (path, item) in &mut document.paths.paths {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch, &mut item.head];
        for operation in operations.into_iter().flatten() {
            refusals(path, operation);
        }
    }
}

/// Adds what the route does not say itself: `(status = 409, description = "…")` is enough there.
fn refusals(path: &str, operation: &mut Operation) {
    let probes = !path.starts_with("/api/");
    let has_body = operation.request_body.is_some();
    let parameters = || operation.parameters.iter().flatten();
    let has_key = parameters().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.name == "Idempotency-Key",
        RefOr::Ref(_) => false,
    });
    let has_parameters = parameters().next().is_some();
    let has_id = path.contains('{');
    let logged_in = operation.security.as_ref().is_some_and(|needed| !needed.is_empty());
    let known = [
        (
            "400",
            has_body || has_parameters,
            "Something in the request is not as it must be; `detail` says what",
        ),
        ("401", logged_in, "There is no access token, or it is not valid any more"),
        ("403", path.starts_with("/api/v1/admin/"), "It is for who runs the service"),
        ("404", has_id, "There is no such thing, or it is another user's"),
        ("408", !probes, "It took longer than 30 s"),
        ("409", has_key, "The same request is under way; ask again for its answer"),
        ("413", has_body, "The body is too large"),
        ("415", has_body, "The body is no JSON"),
        ("422", has_key, "The Idempotency-Key was used for another request"),
        ("429", !probes, "That is too often, or the plan has not that much left; see Retry-After"),
        ("500", !probes, "A mistake of the server's"),
        ("503", !probes, "Something that is needed does not answer for now; see Retry-After"),
    ];
    for (status, given, description) in known {
        if given {
            let responses = &mut operation.responses.responses;
            responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(Response::new(description)));
        }
    }
    for (status, response) in &mut operation.responses.responses {
        match response {
            RefOr::T(response) if status.starts_with(['4', '5']) && response.content.is_empty() => {
                let problem = Content::new(Some(Ref::from_schema_name("Problem")));
                response.content.insert("application/problem+json".to_owned(), RefOr::T(problem));
            }
            _ => {}
        }
    }
}
