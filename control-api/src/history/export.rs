//! A session as a file: plain text, Markdown, subtitles, JSON.
//!
//! Not here: how each is written (`export/`).

mod document;
mod subtitles;

use axum::{
    extract::{Path, State},
    http::{HeaderName, header},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    KeptAnswer,
    reading::{Said, SessionBody, TurnBody, counted, said, shown},
};
use crate::{ApiState, Problem, auth::CurrentUser, body::ValidQuery, problem::internal};

/// In which format.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `txt` and `md` have turns and answers to read, `srt` and `vtt` the turns as subtitles, `json` everything.
    #[garde(skip)]
    #[param(inline)]
    format: Format,
}

/// A format of an export.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// Plain text.
    Txt,
    /// Markdown (CommonMark).
    Md,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
    /// JSON: an `Export`.
    Json,
}

/// A session with all that was said in it.
#[derive(Serialize, ToSchema)]
#[schema(as = Export)]
pub(super) struct ExportBody {
    /// Of this form: 1. It grows when a reader must know of a change.
    #[schema(minimum = 1, maximum = 1)]
    version: u32,
    /// About it.
    session: SessionBody,
    /// In their order.
    turns: Vec<TurnBody>,
    /// Answers to texts that are no kept turn.
    other_answers: Vec<KeptAnswer>,
}

/// A session as a file.
#[utoipa::path(
    get,
    path = "/api/v1/history/{id}/export",
    tag = "history",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its id in the history"), ExportQuery),
    responses(
        (status = 200, description = "The file; `Content-Disposition` names it",
            headers(("content-disposition" = String)),
            content(
                (ExportBody = "application/json"),
                (String = "text/plain; charset=utf-8"),
                (String = "text/markdown; charset=utf-8"),
                (String = "application/x-subrip; charset=utf-8"),
                (String = "text/vtt; charset=utf-8"),
            )),
    )
)]
pub(super) async fn export(
    State(state): State<ApiState>,
    current: CurrentUser,
    Path(id): Path<String>,
    ValidQuery(query): ValidQuery<ExportQuery>,
) -> Result<([(HeaderName, String); 3], String), Problem> {
    let session = shown(&state, &current, &id).await?;
    let Said { turns, other_answers, .. } = said(&state, &session.id, None, usize::MAX).await?;
    let session = counted(&state, session).await?;
    let name = file_name(&session);
    let export = ExportBody { version: 1, session, turns, other_answers };
    let (media, end, text) = match query.format {
        Format::Txt => ("text/plain; charset=utf-8", "txt", document::plain(&export)),
        Format::Md => ("text/markdown; charset=utf-8", "md", document::markdown(&export)),
        Format::Srt => ("application/x-subrip; charset=utf-8", "srt", subtitles::srt(&export.turns)),
        Format::Vtt => ("text/vtt; charset=utf-8", "vtt", subtitles::vtt(&export.turns)),
        Format::Json => {
            let json = serde_json::to_string_pretty(&export).map_err(|error| internal(&error))?;
            ("application/json", "json", json)
        }
    };
    let headers = [
        (header::CONTENT_TYPE, media.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{end}\"")),
        // The words are others': no browser may take them for a page.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, text))
}

/// `backend-engineer-2026-11-23`: letters, digits and hyphens, for every file system.
fn file_name(session: &SessionBody) -> String {
    let title = session.interview_title.as_deref().unwrap_or_default();
    let words = title.split(|it: char| !it.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    name.truncate(MAX_NAME_BYTES);
    let name = name.trim_end_matches('-');
    let name = if name.is_empty() { "interview" } else { name };
    format!("{name}-{}", &session.started_at[..10])
}

/// Who spoke, for a reader.
fn speaker(role: &str) -> &'static str {
    match role {
        "interviewer" => "Interviewer",
        "candidate" => "Candidate",
        _ => "Speaker",
    }
}

/// `01:02:03` and the milliseconds.
fn clock(ms: i64) -> (String, i64) {
    let ms = ms.max(0);
    let seconds = ms / 1_000;
    (format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60), ms % 1_000)
}

const MAX_NAME_BYTES: usize = 60;
