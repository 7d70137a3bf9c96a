//! What people read: the timeline of a run, and the table of many.
//!
//! Plain text, the same on every platform; colour and paging are the terminal's affair. Reports are made from
//! finished runs and know nothing of how one is run.

mod disk_words;
mod phrases;
pub mod text;
pub mod timeline;
