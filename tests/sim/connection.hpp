// One connection of the simulated target, from its login on: PDUs out of bytes, the numbering of RFC 7143
// section 4.2.2, tasks and their data. Owned by the target, to the end of the schedule. One thread.
#pragma once

#include "sim/pdu.hpp"
#include "sim/target.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::sim {

class Connection final : public Peer, private Happening {
public:
    Connection(Target& target, Socket& socket);

    /// The session was taken over, or the target starts anew: nothing of it is executed any more.
    void end();
    bool full_feature() const { return full_feature_; }
    void break_down(bool reset, bool silent) { socket_.break_down(reset, silent); }
    void send_nop_in(bool wants_answer);
    void send_async(std::uint8_t event, std::uint16_t asc_ascq);

    void on_bytes(base::Bytes bytes) override;
    void on_closed() override;

private:
    struct R2t {
        std::uint32_t ttt = 0;
        std::uint32_t offset = 0;
        std::uint32_t end = 0;
        std::uint32_t data_sn = 0;
    };
    enum class State : std::uint8_t {
        free,
        gathering, ///< data is still to come
        executing,
        sending, ///< executed; data or status are still to be sent
        silent,  ///< will never be answered
        answered ///< not known to have arrived: its tag is not free yet
    };
    enum class Verb : std::uint8_t { other, read, write, flush, unmap, write_same };
    struct Task {
        State state = State::free;
        Verb verb = Verb::other;
        Fate fate = Fate::plain;
        std::uint8_t generation = 0; ///< happenings of an earlier task in this place are void
        std::uint8_t status = 0;
        std::uint8_t response = 0;
        bool fua = false;
        bool reads = false;
        bool breach = false; ///< its Data-In broke a rule
        bool unsolicited_open = false;
        std::uint32_t itt = 0;
        std::uint64_t lun = 0;
        std::uint32_t expected = 0;
        std::uint32_t first = 0; ///< block
        std::uint32_t blocks = 0;
        std::uint32_t length = 0; ///< of the data there is to be sent
        std::uint32_t received = 0;
        std::uint32_t asked = 0;
        std::uint32_t sent = 0;
        std::uint32_t data_sn = 0; ///< next of Data-In, of R2T, or of unsolicited Data-Out
        std::uint32_t r2t_sn = 0;
        std::uint32_t stat_sn = 0;
        std::uint32_t residual = 0;
        std::uint32_t sense = 0; ///< key, ASC, ASCQ
        std::array<R2t, 4> r2ts{};
        unsigned r2t_count = 0;
        std::array<std::byte, 16> cdb{};
        std::vector<std::byte> data;
    };
    enum What : std::uint32_t { execute_task, send_task };
    static constexpr std::size_t tasks_max = 48;

    // connection.cpp: PDUs and numbers.
    void take_pdus();
    void take_pdu(const Header& header, base::Bytes data);
    void on_damaged(const Header& header);
    bool check_numbers(const Header& header);
    void send(Header& header, base::Bytes data, bool takes_status);
    std::uint32_t max_cmd_sn();
    void happen(std::uint32_t what) override;
    void put_off(Task& task, What what, base::Duration longest);
    template <class... Args>
    void violation(fmt::format_string<Args...> format, Args&&... args) {
        target_.stage().fail("the initiator breaks RFC 7143: {}",
                             fmt::format(format, std::forward<Args>(args)...));
    }

    // login.cpp
    void on_login(const Header& header, std::string_view text);
    std::string answer_keys(std::string_view text);
    std::string answer_key(std::string_view key, std::string_view value);

    // tasks.cpp: commands and their data.
    void on_command(const Header& header, base::Bytes data);
    void decode(Task& task);
    void on_data_out(const Header& header, base::Bytes data);
    void on_management(const Header& header);
    void on_logout(const Header& header);
    void on_nop_out(const Header& header, base::Bytes data);
    Task* find(std::uint32_t itt);
    Task& new_task(std::uint32_t itt);
    void add_data(Task& task, std::uint32_t offset, base::Bytes data);
    void progress(Task& task);
    void drop(Task& task);

    // execute.cpp: what becomes of them.
    void execute(Task& task);
    bool meet_attention(Task& task);
    bool meet_fate(Task& task);
    bool do_less(Task& task);
    void do_it(Task& task, std::uint32_t blocks);
    void check_condition(Task& task, std::uint32_t sense);
    void send_next(Task& task);
    void send_data(Task& task);
    void send_response(Task& task);
    void note_breach(const Task& task);

    Target& target_;
    Socket& socket_;
    std::vector<std::byte> in_;
    std::size_t in_read_ = 0;
    bool closed_ = false;
    bool full_feature_ = false;
    bool header_digest_ = false;
    bool data_digest_ = false;
    // Negotiated.
    std::uint32_t initiator_segment_ = 8192;
    std::uint32_t max_burst_ = 262144;
    std::uint32_t first_burst_ = 65536;
    std::uint32_t r2ts_max_ = 1;
    bool initial_r2t_ = true;
    bool immediate_data_ = true;
    std::uint16_t time2wait_ = 2;
    bool offers_digests_ = false;
    // Numbers.
    bool numbers_known_ = false;
    std::uint32_t stat_sn_;
    std::uint32_t exp_stat_sn_ = 0; ///< as the initiator says
    std::uint32_t exp_cmd_sn_ = 0;
    std::uint32_t max_cmd_sn_ = 0; ///< as told
    bool breached_ = false;        ///< this side has broken a rule
    std::uint32_t breach_sn_ = 0;  ///< StatSN of the status that must not be acknowledged since
    std::uint32_t ttt_ = 0;
    std::array<Task, tasks_max> tasks_;
    unsigned open_tasks_ = 0; ///< neither free nor answered
};

} // namespace iscsi::sim
