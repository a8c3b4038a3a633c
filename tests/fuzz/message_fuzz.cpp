// A line that anybody may send to the daemon's socket, and one that a daemon may answer. What was understood
// is written and understood as the same. The same bytes are also a stream that is cut into lines.
#include "fuzz.hpp"

#include "ipc/line_buffer.hpp"
#include "ipc/requests.hpp"

using namespace iscsi;
using iscsi::test::require;

namespace {

/// Without the newline that ends a message.
std::string_view line_of(const std::string& message) {
    require(message.find('\n') == message.size() - 1);
    return std::string_view(message).substr(0, message.size() - 1);
}

/// However the stream comes in, each line comes out whole, until one is too long.
void check_lines(std::string_view stream) {
    constexpr std::size_t longest = 256;
    ipc::LineBuffer buffer(longest);
    std::string_view expected = stream;
    std::size_t piece = 1 + stream.size() % 13;
    for (std::string_view rest = stream; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) {
        buffer.append(rest.substr(0, piece));
        for (auto line = buffer.next(); !line || *line; line = buffer.next()) {
            std::string_view next = expected.substr(0, expected.find('\n'));
            if (!line) {
                require(next.size() > longest);
                return;
            }
            require(**line == next && next.size() <= longest);
            expected.remove_prefix(next.size() + 1);
        }
    }
    require(buffer.size() == expected.size() && expected.find('\n') == std::string_view::npos);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view line = iscsi::test::as_text(data, size);
    static_cast<void>(ipc::id_of(line));
    check_lines(line);
    if (auto request = ipc::decode_request(line)) {
        std::string written = ipc::encode(request->id, request->request);
        auto again = ipc::decode_request(line_of(written));
        require(again && ipc::encode(again->id, again->request) == written);
    }
    if (auto reply = ipc::decode_reply(line)) {
        std::string written = ipc::encode(reply->id, reply->reply);
        auto again = ipc::decode_reply(line_of(written));
        require(again && ipc::encode(again->id, again->reply) == written);
    }
    return 0;
}
