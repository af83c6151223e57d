//! The echo guard on real voices: echoes suppressed, double talk kept, nothing else touched. `--nocapture` prints the tables.
//!
//! The constants of `engine::echo` were chosen on one half of the speakers; the figures here are of the other half. Without
//! the recordings the project's own sample stands in, and the test says so. Not here: what a session makes of it
//! (`two_voices.rs`).

#[path = "echo/mixtures.rs"]
mod mixtures;

use std::collections::BTreeSet;

use codecs::{Codec, Finish, StreamFormat};
use engine::{
    echo,
    endpointer::EndpointerConfig,
    listener::{Listener, TurnEvent, TurnEventKind},
};
use mixtures::{Echo, Noise, Room, Voice, add, add_noise, bundled, echo_of, recordings};
use models::vad::{EarshotVad, VoiceActivityDetector};

const ROOMS: [Room; 5] =
    [Room::Dry, Room::Reverberant(100), Room::Reverberant(200), Room::Reverberant(300), Room::Telephone];
const LEVELS_DB: [f32; 5] = [-6.0, -12.0, -18.0, -24.0, -30.0];
const DELAYS_MS: [usize; 6] = [0, 50, 100, 200, 300, 350];
const NOISES_DB: [f32; 3] = [-90.0, -65.0, -55.0];

/// Hits: of the echoes that would have become a turn of the candidate, those that did not. Double talk: how much of what
/// the candidate's turns cover without an echo they still cover with it; the detector itself, without a guard, loses some.
#[test]
fn echoes_are_suppressed_and_double_talk_is_kept() {
    let voices = voices();
    let mut cases = 0;
    let (mut hits, mut echoes, mut unseen) = (0u32, 0u32, 0u32);
    let (mut kept, mut kept_unguarded, mut talks, mut poor) = (0.0, 0.0, 0u32, 0u32);
    let (mut hit_table, mut talk_table) = (Vec::new(), Vec::new());
    for room in ROOMS {
        let (mut hit_row, mut talk_row) = (format!("{room:?}"), format!("{room:?}"));
        for level_db in LEVELS_DB {
            let (mut cell_hits, mut cell_echoes, mut cell_kept, mut cell_talks) = (0, 0, 0.0, 0);
            for delay_ms in DELAYS_MS.repeat(2) {
                cases += 1;
                let (interviewer, candidate) = couple(&voices, cases);
                let echo = echo_of(&interviewer.samples, Echo { delay_ms, level_db, room }, cases as u32);
                let noise_db = NOISES_DB[cases % NOISES_DB.len()];
                // A second more, for the tail and the end of the turn.
                let length = interviewer.samples.len() + 16_000;
                let microphone = |voices: &[(&[f32], usize)]| {
                    let mut heard = vec![0.0; length];
                    voices.iter().for_each(|(voice, at)| add(&mut heard, voice, *at));
                    add_noise(&mut heard, noise_db, cases as u32);
                    heard
                };
                let alone = microphone(&[(&echo, 0)]);
                if !turns(&hear(&interviewer.samples, &alone, None)).is_empty() {
                    let heard = hear(&interviewer.samples, &alone, Some(20));
                    cell_echoes += 1;
                    cell_hits += u32::from(turns(&heard).is_empty());
                    unseen += u32::from(started(&heard) == 0);
                }
                // Every second candidate speaks from the start, before any echo was heard alone.
                let at = if cases % 2 == 0 { 0 } else { 32_000 };
                let voice = (&candidate.samples[..], at);
                let wanted = turns(&hear(&interviewer.samples, &microphone(&[voice]), None));
                let both = microphone(&[voice, (&echo, 0)]);
                let share = |guarded| covered(&wanted, &turns(&hear(&interviewer.samples, &both, guarded)));
                if let (Some(share), Some(unguarded)) = (share(Some(20)), share(None)) {
                    cell_kept += share;
                    cell_talks += 1;
                    kept_unguarded += unguarded;
                    poor += u32::from(share < unguarded - 0.2);
                }
            }
            hit_row += &format!("  {level_db}: {cell_hits}/{cell_echoes}");
            talk_row += &format!("  {level_db}: {:.3}", cell_kept / f64::from(cell_talks.max(1)));
            (hits, echoes) = (hits + cell_hits, echoes + cell_echoes);
            (kept, talks) = (kept + cell_kept, talks + cell_talks);
        }
        hit_table.push(hit_row);
        talk_table.push(talk_row);
    }
    let hit_share = f64::from(hits) / f64::from(echoes);
    let [kept, kept_unguarded] = [kept, kept_unguarded].map(|sum| sum / f64::from(talks));
    println!("Echo alone, hits of cases by level in dB:\n{}", hit_table.join("\n"));
    println!("{hits} of {echoes}; of {unseen} the client sees nothing at all, not even a speech_started");
    println!("Double talk, share of the candidate's speech kept:\n{}", talk_table.join("\n"));
    println!(
        "mean {kept:.3} ({kept_unguarded:.3} without a guard) of {talks} cases; a fifth or more lost in {poor}"
    );
    assert!(echoes > 100, "{echoes} echoes would be heard: too few to tell");
    assert!(hit_share >= 0.95, "{hits} of {echoes} echoes suppressed");
    assert!(kept >= 0.93, "{kept:.3} of the candidate's speech kept under an echo");
    assert!(f64::from(poor) <= 0.08 * f64::from(talks), "{poor} of {talks} candidates lost a fifth or more");
}

/// Without an echo the guard changes nothing, to the sample, whoever speaks.
#[test]
fn a_candidate_without_an_echo_is_left_alone() {
    let voices = voices();
    let mut cases = 0;
    for n in 0..voices.len().max(20) {
        let (interviewer, candidate) = couple(&voices, n);
        let mut microphone = candidate.samples.clone();
        add_noise(&mut microphone, NOISES_DB[n % NOISES_DB.len()], n as u32);
        for far in [&interviewer.samples[..], &[]] {
            cases += 1;
            let (plain, guarded) = (hear(far, &microphone, None), hear(far, &microphone, Some(20)));
            assert!(plain == guarded, "{} beside {}", candidate.name, interviewer.name);
        }
    }
    println!("false alarms: 0 of {cases}");
}

/// Four questions and four answers, a second apart or overlapping, with the echo there all along.
#[test]
fn an_interview_with_an_echo_all_along() {
    let voices = voices();
    let (interviewer, candidate) = couple(&voices, 1);
    let question = &interviewer.samples[..interviewer.samples.len().min(64_000)];
    let answer = &candidate.samples[..candidate.samples.len().min(64_000)];
    for (gap, least) in [(1.0f32, 0.97), (0.3, 0.95), (-0.5, 0.9)] {
        let (mut far, mut own) = (Vec::new(), Vec::new());
        let mut at = 8_000;
        for _ in 0..4 {
            add(&mut far, question, at);
            at += (question.len() as f32 + gap * 16_000.0) as usize;
            add(&mut own, answer, at);
            at += (answer.len() as f32 + gap * 16_000.0) as usize;
        }
        add(&mut far, &[], at + 16_000);
        let setting = Echo { delay_ms: 120, level_db: -12.0, room: Room::Reverberant(200) };
        let mut microphone = own.clone();
        add_noise(&mut microphone, -65.0, 1);
        let wanted = turns(&hear(&far, &microphone, None));
        add(&mut microphone, &echo_of(&far, setting, 7), 0);
        let heard = hear(&far, &microphone, Some(20));
        let share = covered(&wanted, &turns(&heard)).expect("the candidate is heard");
        let surplus: u64 = turns(&heard).iter().map(|(from, to)| to - from).sum();
        let wanted_length: u64 = wanted.iter().map(|(from, to)| to - from).sum();
        println!(
            "gap {gap} s: {share:.3} kept, turns {} % as long as without an echo",
            surplus * 100 / wanted_length
        );
        assert!(share >= least, "{share:.3} kept at a gap of {gap} s");
        assert!(surplus * 100 <= wanted_length * 115, "echoes lengthen the turns at a gap of {gap} s");
        let notices = heard.iter().filter(|event| event.kind == TurnEventKind::EchoFound).count();
        assert_eq!(notices, 1);
    }
}

/// The echo's words are not in the audio of the candidate's turns: not in the pre-roll, nor in the silence at the end.
#[test]
fn the_audio_of_a_turn_is_silent_where_only_the_echo_was() {
    let voices = voices();
    let (interviewer, candidate) = couple(&voices, 1);
    let own = &candidate.samples[..48_000.min(candidate.samples.len())];
    let mut far = interviewer.samples[..48_000].to_vec();
    let at = far.len() + 1_600;
    add(&mut far, &interviewer.samples[..48_000], at + own.len() + 800);
    let mut microphone = echo_of(&far, Echo { delay_ms: 40, level_db: -6.0, room: Room::Dry }, 3);
    add(&mut microphone, own, at);
    let heard = hear(&far, &microphone, Some(20));
    let Some(turn) = heard.iter().rev().find_map(|event| match &event.kind {
        TurnEventKind::Ended(utterance) if event.channel == 1 => Some(utterance),
        _ => None,
    }) else {
        panic!("the candidate was not heard");
    };
    let energy = |from: usize, to: usize| {
        let first = turn.audio_start.0 as usize;
        let range = from.clamp(first, first + turn.audio.len()) - first
            ..to.clamp(first, first + turn.audio.len()) - first;
        turn.audio[range].iter().map(|sample| sample * sample).sum::<f32>()
    };
    let (before, during) = (energy(0, at), energy(at, at + own.len()));
    // 100 ms for the judgement to change its mind.
    let after = energy(at + own.len() + 1_600, usize::MAX);
    println!("energy before {:.4}, after {:.4} of the candidate's", before / during, after / during);
    assert!(before < 0.02 * during && after < 0.02 * during, "{before} {during} {after}");
}

#[test]
fn the_delay_is_found() {
    let voices = voices();
    let mut found = 0;
    for (n, delay_ms) in DELAYS_MS.into_iter().enumerate() {
        let voice = &couple(&voices, n).0.samples;
        let room = ROOMS[n % ROOMS.len()];
        let echo = echo_of(voice, Echo { delay_ms, level_db: -12.0, room }, n as u32);
        let (mut far_end, mut near_end) = echo::pair();
        for (far, near) in voice.chunks_exact(160).zip(echo.chunks_exact(160)) {
            far_end.hear(far);
            near_end.hear(near, 1.0);
        }
        let delay = near_end.delay_ms().expect("a clear echo is found");
        assert!(delay.abs_diff(delay_ms as u64) <= 20, "{delay} ms instead of {delay_ms}, {room:?}");
        found += 1;
    }
    assert_eq!(found, DELAYS_MS.len());
}

/// Numbered channels are streams of their own: either may be ahead. Where the candidate's is, an echo is known after the fact
/// only, and its turn can be longer than what the guard remembers: the project's sample gives such a turn.
#[test]
fn streams_may_be_heard_at_different_times() {
    let (voices, sample) = (voices(), bundled());
    for voice in [couple(&voices, 2).0, &sample[0]] {
        let mut far = voice.samples.clone();
        let mut near =
            echo_of(&far, Echo { delay_ms: 150, level_db: -12.0, room: Room::Reverberant(200) }, 5);
        add_noise(&mut near, -65.0, 5);
        far.resize(far.len() + 32_000, 0.0);
        near.resize(far.len(), 0.0);
        for (piece_ms, candidate_first) in
            [(20, true), (20, false), (250, true), (250, false), (1_000, true), (1_000, false)]
        {
            let [kept, echoed] = hear_streams(&far, &near, piece_ms, candidate_first);
            let case = format!("{}, {piece_ms} ms, candidate first {candidate_first}", voice.name);
            println!("{case}: {echoed} echoes, {kept} turns kept");
            assert_eq!(kept, 0, "{case}");
        }
    }
}

/// Both channels as streams of their own, in pieces of so many milliseconds: the candidate's turns kept, and its echoes.
fn hear_streams(far: &[f32], near: &[f32], piece_ms: usize, candidate_first: bool) -> [usize; 2] {
    let (mut interviewer, mut candidate) = (mono(), mono());
    let (far_end, near_end) = echo::pair();
    interviewer.guard(0, echo::End::Far(far_end));
    candidate.guard(0, echo::End::Near(near_end));
    let (mut events, mut others) = (Vec::new(), Vec::new());
    for (far, near) in far.chunks(piece_ms * 16).zip(near.chunks(piece_ms * 16)) {
        if !candidate_first {
            interviewer.push(&bytes(far), &mut others).expect("PCM");
        }
        candidate.push(&bytes(near), &mut events).expect("PCM");
        if candidate_first {
            interviewer.push(&bytes(far), &mut others).expect("PCM");
        }
    }
    finish(&mut candidate, &mut events);
    let count = |kind: fn(&TurnEventKind) -> bool| events.iter().filter(|event| kind(&event.kind)).count();
    [
        count(|kind| matches!(kind, TurnEventKind::Ended(_))),
        count(|kind| matches!(kind, TurnEventKind::Echoed(_))),
    ]
}

#[test]
fn the_cut_of_the_bytes_does_not_matter() {
    let voices = voices();
    let far = &couple(&voices, 3).0.samples;
    let near = echo_of(far, Echo { delay_ms: 80, level_db: -12.0, room: Room::Telephone }, 5);
    let expected = hear(far, &near, Some(20));
    for chunk_ms in [1, 7, 100, 900] {
        assert!(hear(far, &near, Some(chunk_ms)) == expected, "in pieces of {chunk_ms} ms");
    }
}

/// Noise, silence, full scale, NaN: nothing panics, nothing is found where nothing is.
#[test]
fn odd_audio_is_no_echo() {
    let mut noise = Noise(3);
    let mut other = Noise(77);
    let odd: [(&str, Vec<f32>, Vec<f32>); 4] = [
        ("silence", vec![0.0; 32_000], vec![0.0; 32_000]),
        ("noise", (0..64_000).map(|_| noise.next()).collect(), (0..64_000).map(|_| other.next()).collect()),
        ("not a number", vec![f32::NAN; 32_000], vec![f32::INFINITY; 32_000]),
        ("full scale", vec![1.0; 32_000], vec![-1.0; 32_000]),
    ];
    for (name, far, near) in odd {
        let (mut far_end, mut near_end) = echo::pair();
        for (far, near) in far.chunks_exact(160).zip(near.chunks_exact(160)) {
            far_end.hear(far);
            assert!(!near_end.hear(near, 1.0), "{name}");
        }
        assert_eq!(near_end.delay_ms(), None, "{name}");
    }
}

/// The other half of the speakers; every speaker is in one half only.
fn voices() -> Vec<Voice> {
    let Some(voices) = recordings(8.0) else {
        println!("SKIPPED the recordings: INTERVIEWAI_SPEECH_DIR has none; the project's sample stands in");
        return bundled();
    };
    let speakers: BTreeSet<String> = voices.iter().map(|voice| voice.speaker.clone()).collect();
    let number = |voice: &Voice| speakers.iter().position(|speaker| *speaker == voice.speaker);
    voices.into_iter().filter(|voice| number(voice).is_some_and(|number| number % 2 == 1)).collect()
}

/// Two people, other ones for each `n`.
fn couple(voices: &[Voice], n: usize) -> (&Voice, &Voice) {
    let interviewer = &voices[n % voices.len()];
    let mut others = voices.iter().cycle().skip(n * 7 + 3).take(voices.len());
    let candidate = others.find(|voice| voice.speaker != interviewer.speaker).expect("there are two people");
    (interviewer, candidate)
}

fn mono() -> Listener {
    let format = StreamFormat { codec: Codec::PcmF32le, sample_rate: Some(16_000), channels: Some(1) };
    Listener::new(format, vec![Box::new(EarshotVad::new())], EndpointerConfig::default()).expect("PCM")
}

fn bytes(samples: &[f32]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// What the ears hear of two channels, in pieces of `guarded` milliseconds, or unguarded.
fn hear(interviewer: &[f32], candidate: &[f32], guarded: Option<usize>) -> Vec<TurnEvent> {
    let format = StreamFormat { codec: Codec::PcmF32le, sample_rate: Some(16_000), channels: Some(2) };
    let detectors: Vec<Box<dyn VoiceActivityDetector>> =
        (0..2).map(|_| Box::new(EarshotVad::new()) as _).collect();
    let mut listener = Listener::new(format, detectors, EndpointerConfig::default()).expect("PCM");
    if guarded.is_some() {
        let (far_end, near_end) = echo::pair();
        listener.guard(0, echo::End::Far(far_end));
        listener.guard(1, echo::End::Near(near_end));
    }
    let sample = |voice: &[f32], at: usize| voice.get(at).copied().unwrap_or_default();
    let length = interviewer.len().max(candidate.len());
    let both: Vec<f32> =
        (0..length).flat_map(|at| [sample(interviewer, at), sample(candidate, at)]).collect();
    let mut events = Vec::new();
    for piece in bytes(&both).chunks(guarded.unwrap_or(20) * 16 * 8) {
        listener.push(piece, &mut events).expect("PCM");
    }
    finish(&mut listener, &mut events);
    events
}

fn finish(listener: &mut Listener, events: &mut Vec<TurnEvent>) {
    while listener.finish(events).expect("PCM is whole") == Finish::More {}
}

/// The candidate's turns that are written down: first and last sample of speech.
fn turns(events: &[TurnEvent]) -> Vec<(u64, u64)> {
    let ended = events.iter().filter(|event| event.channel == 1).filter_map(|event| match &event.kind {
        TurnEventKind::Ended(utterance) => Some((utterance.speech_start.0, utterance.speech_end.0)),
        _ => None,
    });
    ended.collect()
}

fn started(events: &[TurnEvent]) -> usize {
    let started = |event: &&TurnEvent| event.channel == 1 && matches!(event.kind, TurnEventKind::Started(_));
    events.iter().filter(started).count()
}

/// Share of `wanted` that `kept` covers; `None` when nothing is wanted.
fn covered(wanted: &[(u64, u64)], kept: &[(u64, u64)]) -> Option<f64> {
    let total: u64 = wanted.iter().map(|(from, to)| to - from).sum();
    let pairs = wanted.iter().flat_map(|wanted| kept.iter().map(move |kept| (wanted, kept)));
    let shared: u64 = pairs.map(|(a, b)| a.1.min(b.1).saturating_sub(a.0.max(b.0))).sum();
    (total > 0).then(|| shared as f64 / total as f64)
}
