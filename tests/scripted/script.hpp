// What a script can say. Three places where a line may take hold:
//   on(match)         a PDU of the initiator came; without the line the target does what a good target does
//   executing(match)  a command has all its data and is about to be carried out; likewise
//   sending(match)    a PDU is about to go out, numbered and complete
// The line written last goes first. A command that a line has taken is the script's, with its data, until
// release() or behave() gives it back. Lines are owned by the script and may be changed while it runs. One
// thread.
#pragma once

#include "scripted/match.hpp"
#include "scripted/stream.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::scripted {

enum class Ending : std::uint8_t {
    none,
    orderly, ///< FIN, once everything was delivered
    abort,   ///< RST, at once
};

/// How often a line applies.
class Applicable {
public:
    explicit Applicable(Match match) : match_(std::move(match)) {}

    /// Whether the line applies to this PDU; counts.
    bool take(const Pdu& pdu);
    bool is_used_up() const { return left_ == 0; }

protected:
    Match match_;
    std::size_t skip_ = 0;
    std::size_t left_ = std::numeric_limits<std::size_t>::max();
};

/// A line about what came.
class Rule final : public Applicable {
public:
    using Applicable::Applicable;
    Rule& once() { return times(1); }
    Rule& times(std::size_t n) { return left_ = n, *this; }
    /// The first `n` that match are let by.
    Rule& after(std::size_t n) { return skip_ = n, *this; }

    /// Sends this; the ITT is that of what came, unless it is set.
    Rule& reply(Pdu pdu);
    Rule& reply(std::function<Pdu(const Pdu&)> make) { return replies.push_back(std::move(make)), *this; }
    Rule& run(std::function<void(const Pdu&)> what) { return runs.push_back(std::move(what)), *this; }
    /// Nothing is done about it; replies of this line go all the same.
    Rule& ignore() { return *this; }
    /// Nothing is done about it until release().
    Rule& hold() { return holds = true, *this; }
    /// Afterwards the target does what it would have done without this line.
    Rule& also() { return continues = true, *this; }
    Rule& close(Ending how = Ending::orderly) { return ending = how, *this; }

    std::vector<std::function<Pdu(const Pdu&)>> replies;
    std::vector<std::function<void(const Pdu&)>> runs;
    bool holds = false;
    bool continues = false;
    Ending ending = Ending::none;
};

/// A line about what goes out.
class SendRule final : public Applicable {
public:
    using Applicable::Applicable;
    SendRule& once() { return times(1); }
    SendRule& times(std::size_t n) { return left_ = n, *this; }
    SendRule& after(std::size_t n) { return skip_ = n, *this; }

    SendRule& set(const Field& field, std::uint64_t value = 1);
    SendRule& edit(std::function<void(Pdu&)> what) { return edits.push_back(std::move(what)), *this; }
    /// It takes its StatSN, but never arrives.
    SendRule& drop() { return copies = 0, *this; }
    SendRule& duplicate() { return copies = 2, *this; }
    /// It goes out at release_sent(), behind what was sent meanwhile.
    SendRule& hold() { return holds = true, *this; }
    SendRule& split(std::vector<std::size_t> at) { return damage.pieces = std::move(at), *this; }
    SendRule& cut(std::size_t bytes) { return damage.cut = bytes, *this; }
    SendRule& corrupt_header_digest() { return damage.header_digest = true, *this; }
    SendRule& corrupt_data_digest() { return damage.data_digest = true, *this; }
    SendRule& flip_data(std::size_t byte) { return damage.flip_data = byte, *this; }
    SendRule& dirty_padding() { return damage.padding = true, *this; }
    SendRule& close(Ending how = Ending::orderly) { return ending = how, *this; }

    std::vector<std::function<void(Pdu&)>> edits;
    std::size_t copies = 1;
    bool holds = false;
    Damage damage;
    Ending ending = Ending::none;
};

/// How many PDUs of a kind must have come when the script is over.
class Expectation {
public:
    explicit Expectation(Match match) : match_(std::move(match)) {}
    Expectation& exactly(std::size_t n) { return least_ = n, most_ = n, *this; }
    Expectation& at_least(std::size_t n) { return least_ = n, most_ = any, *this; }
    Expectation& never() { return exactly(0); }
    /// Named in the complaint.
    Expectation& because(std::string why) { return why_ = std::move(why), *this; }

    void look_at(const Pdu& pdu) { count_ += match_(pdu) ? 1 : 0; }
    bool is_met() const { return count_ >= least_ && count_ <= most_; }
    std::string complaint() const;

private:
    static constexpr std::size_t any = std::numeric_limits<std::size_t>::max();
    Match match_;
    std::size_t least_ = 1;
    std::size_t most_ = any;
    std::size_t count_ = 0;
    std::string why_;
};

class Script {
public:
    Rule& on(const Match& match) { return received_.emplace_back(match); }
    Rule& executing(const Match& match) { return executing_.emplace_back(match); }
    SendRule& sending(const Match& match) { return sent_.emplace_back(match); }
    Expectation& expect(const Match& match) { return expected_.emplace_back(match); }
    /// Forgets every line; expectations stay.
    void clear();

protected:
    std::optional<Rule> rule_for(const Pdu& pdu) { return find(received_, pdu); }
    std::optional<Rule> executing_rule_for(const Pdu& pdu) { return find(executing_, pdu); }
    std::optional<SendRule> sending_rule_for(const Pdu& pdu) { return find(sent_, pdu); }
    void look_at(const Pdu& pdu);
    std::vector<std::string> unmet() const;

private:
    // By value: what a line does may add or clear lines.
    template <class R>
    static std::optional<R> find(std::deque<R>& rules, const Pdu& pdu) {
        for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
            if (rule->take(pdu)) {
                return *rule;
            }
        }
        return std::nullopt;
    }

    // Deques: a line stays where it is while others are added.
    std::deque<Rule> received_;
    std::deque<Rule> executing_;
    std::deque<SendRule> sent_;
    std::deque<Expectation> expected_;
};

} // namespace iscsi::scripted
