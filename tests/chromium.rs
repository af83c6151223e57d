//! A real browser's microphone, streamed to the real binary: what web pages record is heard, and answered.
//!
//! A page (`chromium/page.html`) in headless Chromium does everything by itself, with a microphone that plays the sample
//! interview. Not here: other codecs and browsers, whose bytes `codecs` tests.

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

#[path = "support/audio.rs"]
mod audio;
#[path = "support/chromium.rs"]
mod browser;
#[path = "support/page_server.rs"]
mod page_server;
#[path = "support/server.rs"]
mod server;

use std::{
    fmt::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use browser::Chromium;
use codecs::{Codec, StreamFormat};
use models::speech::wer::WordErrors;
use page_server::{File, PageServer};
use serde_json::Value;
use server::Server;

#[test]
fn an_audio_worklet_s_pcm_is_heard_and_answered() {
    let Some(report) = report_of("worklet", Origin::Allowed, Carrier::WebSocket) else { return };
    check_pcm(&report);
    assert_eq!(report["closed"]["code"], 1000);
}

#[test]
fn an_audio_worklet_s_pcm_is_heard_and_answered_over_web_transport() {
    let Some(report) = report_of("worklet", Origin::Allowed, Carrier::WebTransport) else { return };
    check_pcm(&report);
    // Chromium forgets the code when it reads QUIC's own close together with it: web-transport-quinn waits 100 ms between
    // them, and a busy machine's browser may sleep longer. `transport_conformance` pins the code.
    let closed = &report["closed"];
    let forgotten = closed["reason"] == "WebTransportError: Connection lost.";
    assert!(closed["code"] == 1000 || forgotten, "{closed}");
}

#[track_caller]
fn check_pcm(report: &Value) {
    check_conversation(report);
    let audio = &report["audio"];
    let bytes: u64 = chunks(report).iter().sum();
    let sent_ms = bytes * 1000 / 2 / audio["sample_rate"].as_u64().unwrap();
    let heard_ms = last(report, "stream_ended")["totals"]["audio_ms"].as_u64().unwrap();
    assert!(sent_ms.abs_diff(heard_ms) <= 10, "{sent_ms} ms were sent, {heard_ms} ms heard");
}

#[test]
fn a_media_recorder_s_webm_is_heard_and_answered() {
    let Some(report) = report_of("media", Origin::Allowed, Carrier::WebSocket) else { return };
    check_conversation(&report);
    assert_eq!(report["closed"]["code"], 1000);
}

#[test]
fn a_page_of_another_site_is_refused() {
    for carrier in [Carrier::WebSocket, Carrier::WebTransport] {
        let Some(report) = report_of("worklet", Origin::Foreign, carrier) else { return };
        assert_eq!(report["events"], Value::Array(Vec::new()));
        // What a browser tells a page of a handshake that was answered 403.
        assert_eq!(report["closed"]["code"], 1006);
    }
}

/// Whether the server's settings let the page's site in.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Allowed,
    Foreign,
}

/// What the page connects by.
#[derive(Clone, Copy, PartialEq)]
enum Carrier {
    WebSocket,
    WebTransport,
}

/// What the page says when it is done; `None` where there is no browser.
fn report_of(recorder: &str, origin: Origin, carrier: Carrier) -> Option<Value> {
    let program = Chromium::program()?;
    // Two browsers and two recognisers on a small machine would leave gaps in each other's audio.
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let microphone = folder.path().join("microphone.wav");
    let ms = write_microphone(&microphone);
    let mut pages = PageServer::start(&FILES);
    // A name of this machine to the browser, and of another site to the server, as a product's site would be.
    let site = format!("http://page.localhost:{}", pages.port());
    let allowed = if origin == Origin::Allowed { format!("[{site:?}]") } else { "[]".to_owned() };
    let server = Server::start(&[("INTERVIEWAI_AUDIO__ALLOWED_ORIGINS", &allowed)]);
    let mut url = format!("{site}/?recorder={recorder}&ms={ms}&socket=");
    match carrier {
        Carrier::WebSocket => url += &server.ws,
        Carrier::WebTransport => {
            let ready = |name: &str| server.ready[name].as_str().unwrap().to_owned();
            let address = ready("quic").replace("quic://", "https://");
            write!(url, "{address}/audio&sha256={}", ready("certificate_sha256")).unwrap();
        }
    }
    let chromium = Chromium::open(program, &url, &microphone);

    let mut report = Value::Null;
    while report["done"] != true {
        match pages.report(PATIENCE) {
            Some(next) => report = next,
            None => panic!("the page fell silent:\n{}\n{}", summary(&report), chromium.console()),
        }
    }
    // Shown when an assertion fails.
    println!("{}\n{}", summary(&report), chromium.console());
    Some(report)
}

/// The sample interview with a second of silence on both sides, at 16 kHz, mono, as WAV; its length in milliseconds.
fn write_microphone(path: &Path) -> usize {
    let format = StreamFormat { codec: Codec::Flac, sample_rate: None, channels: None };
    let sample = std::fs::read("samples/interview.flac").unwrap();
    let sample = audio::decode(format, &sample, sample.len()).unwrap();
    let silence = || std::iter::repeat_n(0, RATE as usize);
    let voice = sample.samples.iter().map(|sample| (sample * 32_767.0) as i16);
    let samples: Vec<i16> = silence().chain(voice).chain(silence()).collect();

    let bytes = 2 * samples.len() as u32;
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    wav.extend([1, 0, 1, 0]);
    wav.extend(RATE.to_le_bytes());
    wav.extend((2 * RATE).to_le_bytes());
    // Two bytes a frame, 16 bits a sample.
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(bytes.to_le_bytes());
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    std::fs::write(path, wav).unwrap();
    samples.len() * 1000 / RATE as usize
}

/// The sample interview came back: both questions, each answered, and nothing went wrong.
#[track_caller]
fn check_conversation(report: &Value) {
    assert_eq!(report["faults"], Value::Array(Vec::new()), "the page's own faults");
    let events = report["events"].as_array().unwrap();
    let numbers: Vec<_> = events.iter().map(|event| event["event"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(!kinds.contains(&"warning") && !kinds.contains(&"error"), "{kinds:?}");
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("stream_started", "stream_ended"));

    for turn in [1, 2] {
        let of_turn = events.iter().filter(|event| event["turn"] == turn && event["is_final"] != false);
        let order: Vec<_> = of_turn.map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(order, ["speech_started", "speech_ended", "transcription", "answer_started", "answer"]);
    }
    let finals = events.iter().filter(|event| event["type"] == "transcription" && event["is_final"] == true);
    let text = finals.map(|event| event["text"].as_str().unwrap()).collect::<Vec<_>>().join(" ");
    let errors = WordErrors::between(&std::fs::read_to_string("samples/interview.txt").unwrap(), &text);
    assert!(errors.rate() <= MAX_WORD_ERRORS, "{errors:?}: {text}");
    assert!(kinds.contains(&"answer_delta"));
    assert!(
        events.iter().any(|event| event["type"] == "transcription" && event["is_final"] == false),
        "interim text came"
    );

    let totals = &last(report, "stream_ended")["totals"];
    assert_eq!(
        (&totals["turns"], &totals["answers"], &totals["audio_dropped_ms"]),
        (&2.into(), &2.into(), &0.into())
    );
    let ack = last(report, "ack");
    assert_eq!(ack["next_seq"], chunks(report).len(), "every message was acknowledged");
    assert_eq!(ack["audio_ms"], totals["audio_ms"]);
}

/// The last event of this type.
fn last<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let mut events = report["events"].as_array().unwrap().iter().rev();
    events.find(|event| event["type"] == kind).unwrap_or_else(|| panic!("no {kind} came"))
}

/// Bytes of each message of audio.
fn chunks(report: &Value) -> Vec<u64> {
    report["chunks"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).collect()
}

/// The report without the many events that are alike.
fn summary(report: &Value) -> String {
    if report.is_null() {
        return "the page said nothing".to_owned();
    }
    let mut text = String::new();
    for name in ["browser", "microphone", "audio", "closed", "faults"] {
        writeln!(text, "{name}: {}", report[name]).unwrap();
    }
    let sizes = chunks(report);
    writeln!(text, "{} chunks, the first of {:?} bytes", sizes.len(), &sizes[..sizes.len().min(16)]).unwrap();
    let common = ["ack", "answer_delta"];
    for event in report["events"].as_array().unwrap() {
        if !common.contains(&event["type"].as_str().unwrap_or_default()) {
            writeln!(text, "{event}").unwrap();
        }
    }
    text
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
const FILES: [File; 3] = [
    ("/", "text/html", include_str!("chromium/page.html")),
    ("/pcm.js", "text/javascript", include_str!("chromium/pcm.js")),
    ("/transport.js", "text/javascript", include_str!("chromium/transport.js")),
];
const RATE: u32 = codecs::SAMPLE_RATE;
/// Two words of the 27: the browser's own processing (echo, noise, gain) has the audio first.
const MAX_WORD_ERRORS: f64 = 0.08;
/// A page reports every second once it is open; a cold start of the browser is slow.
const PATIENCE: Duration = Duration::from_secs(60);
