// What keeps the secrets that a program holds for a moment from others.
#pragma once

namespace iscsi::adm {

/// What this process creates is for its user alone, and no core of it is ever written. Before anything else.
void make_private();
/// From now on `ps` shows a word of the command line as an empty one.
void hide_word(char* word);

} // namespace iscsi::adm
