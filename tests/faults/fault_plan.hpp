// What the fault proxy is to do to the bytes that pass, as a person or a test says it in lines: what holds
// for all of them until it is taken back (a Mode), and what befalls one of them (a Strike). Everything by
// chance comes from one seed. One thread.
#pragma once

#include "faults/pdu_cutter.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <list>
#include <optional>
#include <random>
#include <string>

namespace iscsi::faults {

/// out: from the initiator to the target; in: back.
enum class Way { out = 0, in = 1 };

/// What holds in one direction.
struct Mode {
    std::chrono::milliseconds delay{0};
    bool stall = false;      ///< nothing passes, all of it is kept
    bool hole = false;       ///< nothing passes, nothing is kept
    std::size_t dribble = 0; ///< bytes sent at a time; 0: as many as go
    std::chrono::milliseconds dribble_pause{1};
    std::size_t split = 0; ///< each PDU is sent as its first so many bytes and, a moment later, the rest
};

/// What befalls a PDU, or the connection at some byte of it.
struct Strike {
    enum class Kind { reset, truncate, orphan, flip, duplicate, hold, drop } kind = Kind::reset;
    std::optional<Way> way;                     ///< none: either
    std::uint64_t after_min = 0, after_max = 0; ///< bytes that pass first, in both directions together
    bool repeats = false;
    Region region = Region::data;        ///< of a flip
    std::optional<std::uint8_t> opcode;  ///< none: any; but only a connection's end befalls a login
    std::chrono::milliseconds late{100}; ///< of what is held, and of an orphan's bytes
    std::uint64_t bytes = 1;             ///< that an orphan has on its way

    std::uint64_t left = 0; ///< bytes still to pass
};

class FaultPlan {
public:
    explicit FaultPlan(std::uint64_t seed) : chance_(seed) {}

    /// A line that says what to do; gives what is wrong with it, if anything.
    std::optional<std::string> obey(const std::string& line);

    const Mode& mode(Way way) const { return modes_[static_cast<std::size_t>(way)]; }

    /// A PDU is about to pass. Gives what befalls it, and moves all strikes that wait on by its bytes.
    std::optional<Strike> strike(Way way, Pdu& pdu);

    std::uint64_t draw(std::uint64_t below) { return below == 0 ? 0 : chance_() % below; }
    std::uint64_t strikes() const { return strikes_; }

private:
    std::optional<std::string> change_mode(const std::string& verb, const std::string& rest);
    std::optional<std::string> add_strike(const std::string& verb, const std::string& rest);
    bool fits(const Strike& strike, Way way, Pdu& pdu) const;

    std::array<Mode, 2> modes_;
    std::list<Strike> waiting_;
    std::mt19937_64 chance_;
    std::uint64_t strikes_ = 0;
};

} // namespace iscsi::faults
