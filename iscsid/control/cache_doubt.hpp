// Whether a unit's volatile cache was lost while its session was away. A unit that has lost power says so
// with a unit attention, 29/00 or a more precise one, to the first command of each nexus (SAM-5
// section 5.14); but some targets greet every new session with 29/00. So that one counts only with something
// beside it: the target was seen to be away itself, not just the connection to it; or it is known not to
// greet, because an earlier login, or a second one made for the purpose, met none. A false alarm costs an
// application the result of a flush; so a greeting target that was away for less than the time between two
// tries is given the benefit of the doubt. Values only; any thread.
#pragma once

#include "scsi/disposition.hpp"

#include <cstdint>
#include <optional>

namespace iscsi::control {

class CacheDoubt {
public:
    enum class Verdict : std::uint8_t {
        kept,
        ask_again, ///< another login will tell a greeting from news
        lost,
    };

    /// What the unit says from now on it says in a new session.
    void on_login() { said_now_ = false; }
    /// It has said something while its path was not open.
    void on_attention(scsi::Effects effects);
    /// The unit was asked in the session of the last on_login(). `target_was_away`: since the path was open.
    Verdict judge(bool target_was_away);
    /// The path is open: what is said from now on is of another time.
    void settle();
    /// What was to be found out by another login was not.
    void give_up_asking() { asking_ = false; }

private:
    std::optional<bool> greets_; ///< says 29/00 in each new session
    bool said_now_ = false;      ///< 29/00 in the last session
    bool said_ = false;          ///< in one since the path was open
    bool named_ = false;         ///< a loss of power, by name
    bool asking_ = false;
};

} // namespace iscsi::control
