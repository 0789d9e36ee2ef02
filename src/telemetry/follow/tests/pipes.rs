//! Standard input.

use super::super::stream::Stream;
use super::*;

#[test]
fn a_pipe_is_read_as_it_comes_and_to_its_end() {
    let (read, mut write) = io::pipe().unwrap();
    let read: std::os::fd::OwnedFd = read.into();
    let mut reader = Reader::of(Box::new(Stream::new(read.into(), "standard input")));
    reader.poll();
    assert_eq!(reader.opened.len(), 1);
    write.write_all(b"one\ntw").unwrap();
    reader.poll();
    assert_eq!(reader.take(), ["one"]);
    write.write_all(b"o\nthree").unwrap();
    drop(write);
    reader.poll();
    assert_eq!(reader.take(), ["two", "three"]);
    assert_eq!(reader.closed, [("standard input".into(), Closed::Ended)]);
    assert_eq!(reader.follower.poll(reader.now), Polled::Ended);
}
