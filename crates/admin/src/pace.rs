//! Writing to a reader who may not read.
//!
//! Two bounds hold what waits for him: he must take something within the stall, and all of one
//! answer within its time. The first finds who is gone, the second who trickles.

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::limits::Limits;

/// Why not all was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// He did not take it in time.
    Slow,
    /// He has left.
    Gone,
}

/// Writes all of `bytes` within the bounds.
pub(crate) async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(), Unread> {
    let last = Instant::now() + limits.answer;
    let mut rest = bytes;
    while !rest.is_empty() {
        let until = last.min(Instant::now() + limits.stall);
        match timeout_at(until, writer.write(rest)).await {
            Ok(Ok(written)) if written > 0 => rest = &rest[written..],
            Ok(_) => return Err(Unread::Gone),
            Err(_) => return Err(Unread::Slow),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, duplex};
    use tokio::time::sleep;

    use super::*;

    fn limits() -> Limits {
        Limits {
            stall: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            ..Limits::default()
        }
    }

    /// Writes 100 bytes through a pipe of one to a reader who takes one every `pause`.
    async fn written(pause: Duration) -> (Result<(), Unread>, Duration) {
        let (mut writer, mut reader) = duplex(1);
        let begun = Instant::now();
        let reading = tokio::spawn(async move {
            loop {
                sleep(pause).await;
                reader.read_u8().await.unwrap();
            }
        });
        let result = write(&mut writer, &[0; 100], &limits()).await;
        reading.abort();
        (result, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_has_his_time_and_no_more() {
        for (pause_ms, wanted, within_s) in [
            (100, Ok(()), 11),
            (11_000, Err(Unread::Slow), 10),
            (1_000, Err(Unread::Slow), 60),
        ] {
            let (result, took) = written(Duration::from_millis(pause_ms)).await;
            assert_eq!(result, wanted, "{pause_ms}");
            assert!(took <= Duration::from_secs(within_s), "{took:?}");
        }
    }

    #[tokio::test]
    async fn a_reader_who_left_is_noticed() {
        let (mut writer, reader) = duplex(10);
        drop(reader);
        let result = write(&mut writer, b"x", &limits()).await;
        assert_eq!(result, Err(Unread::Gone));
    }
}
