//! From interleaved channels to mono: all of them mixed, or one of them.
//!
//! Not here: who speaks on which channel.

/// Appends the mean of the channels of each frame of `interleaved` to `mono`: in [-1, 1] when the channels
/// are. Allocates only when `mono` must grow. An incomplete last frame is ignored.
///
/// # Panics
/// When `channels` is 0.
pub fn downmix(interleaved: &[f32], channels: u16, mono: &mut Vec<f32>) {
    let frames = interleaved.chunks_exact(usize::from(channels));
    let gain = 1.0 / f32::from(channels);
    mono.extend(frames.map(|frame| frame.iter().sum::<f32>() * gain));
}

/// Appends the samples of `channel` (from 0) of each frame of `interleaved` to `mono`. Allocates only when
/// `mono` must grow. An incomplete last frame is ignored.
///
/// # Panics
/// When there is no such channel.
pub fn pick_channel(interleaved: &[f32], channels: u16, channel: u16, mono: &mut Vec<f32>) {
    assert!(channel < channels, "channel {channel} of {channels}");
    let frames = interleaved.chunks_exact(usize::from(channels));
    mono.extend(frames.map(|frame| frame[usize::from(channel)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_become_mono() {
        let check = |interleaved: &[f32], channels, mixed: &[f32], picked: &[&[f32]]| {
            let mut mono = vec![9.0];
            downmix(interleaved, channels, &mut mono);
            assert_eq!((mono[0], &mono[1..]), (9.0, mixed));
            for (channel, expected) in picked.iter().enumerate() {
                mono.truncate(1);
                pick_channel(interleaved, channels, channel as u16, &mut mono);
                assert_eq!((mono[0], &mono[1..]), (9.0, *expected));
            }
        };
        check(&[], 2, &[], &[&[], &[]]);
        check(&[0.5, -0.25], 1, &[0.5, -0.25], &[&[0.5, -0.25]]);
        check(&[1.0, 0.0, -0.5, -0.5, 0.75], 2, &[0.5, -0.5], &[&[1.0, -0.5], &[0.0, -0.5]]);
        check(&[1.0, 1.0, 1.0, 1.0], 4, &[1.0], &[&[1.0], &[1.0], &[1.0], &[1.0]]);
    }

    #[test]
    #[should_panic(expected = "channel 2 of 2")]
    fn a_channel_that_is_not_there_is_a_mistake_of_the_caller() {
        pick_channel(&[0.0, 0.0], 2, 2, &mut Vec::new());
    }
}
