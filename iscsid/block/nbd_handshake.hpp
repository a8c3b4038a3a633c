// The server's half of the NBD fixed newstyle handshake (doc/proto.md, "Option haggling"): bytes in, bytes
// out, no I/O. Every option is answered before the next one is looked at, so the answer fits one fixed
// buffer. A client that never comes to an end is cut off by whoever drives this. The shard's thread.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "block/block.hpp"
#include "block/nbd_abi.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace iscsi::block {

/// What clients are told. The names are cut to NbdHandshake::text_bytes_max on the wire.
struct NbdExportInfo {
    std::string name;        ///< clients ask for this name or for the empty one
    std::string description; ///< for people
    Attributes attributes;
};

class NbdHandshake {
public:
    static constexpr std::size_t text_bytes_max = 1024;         ///< our own name and description
    static constexpr std::uint32_t option_bytes_max = 8 * 1024; ///< longer options are skipped and refused
    static constexpr std::uint32_t option_bytes_skipped = 64 * 1024; ///< beyond this the connection ends
    static constexpr std::size_t input_bytes_max = sizeof(nbd::OptionHeader) + option_bytes_max;

    enum class Outcome : std::uint8_t {
        haggling,
        transmission, ///< go on with requests; output() is still to be sent first
        aborted,      ///< send output(), then close
    };

    /// `info` may change between options, and outlives the handshake.
    explicit NbdHandshake(const NbdExportInfo& info) : info_(info) {}

    /// A new client: output() is the greeting.
    void begin();

    /// Takes the next step's bytes from the front of `input` and gives their number; 0 = it needs more than
    /// these. input_bytes_max are always enough. Not to be called while output() holds something. Errors (the
    /// connection must end): protocol, not_found (an unknown name where no reply is possible).
    base::Result<std::size_t> take(base::Bytes input);

    /// What goes to the client; empty when all is said.
    base::Bytes output() const { return base::Bytes(output_).subspan(sent_, filled_ - sent_); }
    void sent(std::size_t n);

    Outcome outcome() const { return outcome_; }
    bool structured_replies() const { return structured_replies_; }

private:
    enum class Step : std::uint8_t { client_flags, option_header, option_data, skip };

    base::Result<void> on_client_flags(std::uint32_t flags);
    base::Result<void> on_option_header(const nbd::OptionHeader& header);
    base::Result<void> on_option(base::Bytes data);
    base::Result<void> on_export_name(base::Bytes data);
    void on_list(base::Bytes data);
    void on_info(base::Bytes data);
    void on_structured_reply(base::Bytes data);

    bool is_ours(std::string_view name) const { return name.empty() || name == name_on_wire(); }
    std::string_view name_on_wire() const { return std::string_view(info_.name).substr(0, text_bytes_max); }
    std::uint16_t flags() const;

    void put(base::Bytes bytes);
    void put_zeroes(std::size_t n);
    void reply(nbd::OptionReply type, std::size_t length = 0);
    void put_info();
    void put_info_text(nbd::Info type, std::string_view text);

    const NbdExportInfo& info_;
    Step step_ = Step::client_flags;
    Outcome outcome_ = Outcome::haggling;
    bool no_zeroes_ = false;
    bool structured_replies_ = false;
    nbd::Option option_{};
    std::uint32_t option_bytes_ = 0; ///< still to come of the option's data
    std::size_t filled_ = 0;
    std::size_t sent_ = 0;
    std::array<std::byte, 4096> output_;
};

} // namespace iscsi::block
