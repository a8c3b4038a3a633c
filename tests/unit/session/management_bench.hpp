// Task management at work: a session whose commands have a limit, and a target that writes down what is asked
// of it and answers as the test says. Header only.
#pragma once

#include "harness.hpp"

#include <optional>

namespace iscsi::testing {

inline constexpr base::Lun other_lun{0x0002000000000000ULL};
inline constexpr std::uint8_t abort_task = 1;
inline constexpr std::uint8_t lun_reset = 5;
inline constexpr std::uint8_t target_reset = 6;

/// A pair whose target writes down what task management asks of it.
class ManagementBench {
public:
    explicit ManagementBench(const PairConfig& config = recovery_config()) : pair(config) {
        pair.target.keep_log = true;
        pair.target.disk = pattern(pair.target.disk.size(), 3);
        pair.target.manage = [this](const wire::TaskManagementRequest& pdu) {
            asked.push_back(pdu);
            return answer;
        };
    }
    ~ManagementBench() {
        INFO(complaints(pair.target));
        CHECK(pair.target.violations.empty());
    }
    ManagementBench(const ManagementBench&) = delete;
    ManagementBench& operator=(const ManagementBench&) = delete;

    Io& read(base::Lun lun = test_lun, std::uint32_t bytes = 64) {
        Io& io = ios.emplace_back();
        io.read(0, bytes);
        io.command.lun = lun;
        pair.submit(io.command);
        pair.run();
        return io;
    }
    Io& write(std::uint32_t bytes) {
        Io& io = ios.emplace_back();
        io.write(0, pattern(bytes, 4));
        pair.submit(io.command);
        pair.run();
        return io;
    }
    std::vector<std::uint8_t> functions() const {
        std::vector<std::uint8_t> all;
        for (const wire::TaskManagementRequest& pdu : asked) {
            all.push_back(pdu.flags & wire::task_management_function_mask);
        }
        return all;
    }
    /// The answer to what was asked last, also when the target has answered it already.
    void send_answer(std::uint8_t code, std::uint32_t itt) {
        wire::TaskManagementResponse pdu;
        pdu.itt = itt;
        pdu.response = code;
        pair.target.send(pair.target.stamped(pdu));
        pair.run();
    }
    std::vector<session::Command*> done() { return completions(pair.session); }

    std::deque<Io> ios;
    std::vector<wire::TaskManagementRequest> asked;
    std::optional<std::uint8_t> answer; ///< to task management; none = silence
    Pair pair;
};

using Functions = std::vector<std::uint8_t>;

} // namespace iscsi::testing
