// A client of the NBD export that says anything. The first byte chooses the export and how the client begins:
// with a handshake of any bytes, with requests at once, as the kernel's driver speaks, or with requests
// behind a handshake that agrees on structured replies. Requests are made of eleven bytes each, see
// read_request(). The server's half gets them in pieces, while requests end in any order; whatever comes,
// each has one reply, the data of a read is what the disk gave, and all memory comes back.
#include "fuzz.hpp"

#include "block/nbd_connection.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <utility>
#include <vector>

using namespace iscsi;
using namespace iscsi::block;
using iscsi::test::require;
using iscsi::test::Script;

namespace {

constexpr std::uint32_t disk_bytes = 1U << 20;
constexpr std::size_t pool_bytes = 1U << 20;
constexpr std::size_t stream_bytes_max = 1U << 20;

Attributes attributes_of(std::uint8_t flags) {
    Attributes attributes;
    attributes.size_bytes = disk_bytes;
    attributes.logical_block_bytes = (flags & 4) != 0 ? 4096 : 512;
    attributes.physical_block_bytes = 4096;
    attributes.max_request_bytes = 64 * 1024;
    attributes.read_only = (flags & 8) != 0;
    attributes.max_discard_bytes = (flags & 16) != 0 ? disk_bytes : 0;
    return attributes;
}

bool is_all(base::Bytes bytes, std::byte value) {
    return bytes.front() == value && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

/// The disk. Requests wait until they are let go, in any order, and some of them fail.
class Disk final : public RequestHandler {
public:
    /// `any_bytes`: the client may have written anything, not only what Conversation has.
    Disk(const Attributes& attributes, std::minstd_rand& random, bool any_bytes)
        : attributes_(attributes), random_(random), any_bytes_(any_bytes) {}

    void start(Request& request) override {
        const bool has_data = request.verb == Verb::read || request.verb == Verb::write;
        require(request.data.size() == (has_data ? request.length_bytes : 0));
        require(request.offset_bytes <= disk_bytes &&
                request.length_bytes <= disk_bytes - request.offset_bytes);
        require(request.offset_bytes % attributes_.logical_block_bytes == 0);
        require(!attributes_.read_only || request.verb == Verb::read || request.verb == Verb::flush);
        require(any_bytes_ || request.verb != Verb::write || is_all(request.data, request.data.front()));
        held_.push_back(&request);
    }

    /// Ends up to `most` of the requests that are held. True when there was one.
    bool let_go(std::size_t most) {
        const bool any = most > 0 && !held_.empty();
        for (; most > 0 && !held_.empty(); --most) {
            const std::size_t which = random_() % held_.size();
            Request& request = *std::exchange(held_[which], held_.back());
            held_.pop_back();
            const int error = random_() % 8 == 0 ? EIO : 0;
            if (request.verb == Verb::read && error == 0) {
                const auto mark = static_cast<std::byte>(random_());
                std::fill(request.data.begin(), request.data.end(), mark);
                reads.push_back({request.data.size(), mark});
            }
            NbdConnection::of(request).complete(request, error);
        }
        return any;
    }

    struct Read {
        std::size_t bytes;
        std::byte mark;
    };
    std::deque<Read> reads; ///< those that ended well and whose replies were not seen yet

private:
    const Attributes& attributes_;
    std::minstd_rand& random_;
    bool any_bytes_;
    std::vector<Request*> held_;
};

/// What the client sends, and the replies it may expect.
struct Conversation {
    struct Asked {
        nbd::Command command = nbd::Command::read;
        std::uint32_t length = 0;
        bool answered = false;
    };
    std::vector<std::byte> stream;
    std::vector<Asked> asked; ///< the cookie is the index
    bool readable = true;     ///< something may follow
    bool fatal = false;       ///< the server has to end the connection
    bool cut_short = false;   ///< the last payload is not whole

    template <class Head>
    void put(const Head& head) {
        base::Bytes bytes = base::bytes_of_object(head);
        stream.insert(stream.end(), bytes.begin(), bytes.end());
    }
    void put_handshake() {
        put(base::Be32(nbd::flag_fixed_newstyle | nbd::flag_no_zeroes));
        put(nbd::OptionHeader{nbd::option_magic, static_cast<std::uint32_t>(nbd::Option::structured_reply),
                              0U});
        put(nbd::OptionHeader{nbd::option_magic, static_cast<std::uint32_t>(nbd::Option::go), 6U});
        put(base::Be32());
        put(base::Be16());
    }
};

/// One request from eleven bytes: command, flags, shape, offset and length. The shape says in which units the
/// two count and whether the magic number is wrong. The payload of a write is as long as it says.
void read_request(Script& script, Conversation& talk) {
    const std::uint8_t command = script.u8() % 9;
    const std::uint8_t flags = script.u8() % 16;
    const std::uint8_t shape = script.u8();
    std::uint64_t offset = std::uint32_t{script.u16()} << 16 | script.u16();
    std::uint32_t length = std::uint32_t{script.u16()} << 16 | script.u16();
    constexpr std::uint32_t blocks = 2 * disk_bytes / 512;
    offset = (shape & 1) != 0 ? offset << 20 : (offset % blocks) * 512;
    length = (shape & 2) != 0 ? length : (length % 256) * 512;
    if ((shape & 4) != 0) {
        ++offset;
    }
    const auto kind = static_cast<nbd::Command>(command);
    const auto cookie = static_cast<std::uint64_t>(talk.asked.size());
    const std::uint32_t magic = shape == 0xff ? 0 : nbd::request_magic;
    talk.put(nbd::RequestHeader{magic, flags, command, cookie, offset, length});
    const bool too_long = kind == nbd::Command::write && length > nbd::payload_bytes_max;
    talk.fatal = magic == 0 || too_long;
    talk.readable = !talk.fatal && kind != nbd::Command::disc;
    if (!talk.readable) {
        return;
    }
    talk.asked.push_back({kind, length, false});
    if (kind == nbd::Command::write) {
        const std::size_t room = stream_bytes_max - std::min(stream_bytes_max, talk.stream.size());
        talk.cut_short = length > room;
        talk.stream.insert(talk.stream.end(), std::min<std::size_t>(length, room),
                           static_cast<std::byte>(cookie));
        talk.readable = !talk.cut_short;
    }
}

/// Reads what the server says, and does not forgive.
class Client {
public:
    Client(Conversation& talk, Disk& disk, bool handshake)
        : talk_(talk), disk_(disk), handshake_(handshake) {}

    void hear(base::Bytes bytes) {
        heard_.erase(heard_.begin(), heard_.begin() + static_cast<std::ptrdiff_t>(std::exchange(at_, 0)));
        heard_.insert(heard_.end(), bytes.begin(), bytes.end());
        while (handshake_ ? take_option_reply() : take_reply()) {
        }
    }
    /// The server has stopped between two replies.
    bool satisfied() const { return !handshake_ && unread() == 0; }

private:
    std::size_t unread() const { return heard_.size() - at_; }
    template <class Head>
    bool see(Head& head) const {
        if (unread() < sizeof head) {
            return false;
        }
        head = base::load<Head>(heard_, at_);
        return true;
    }
    bool drop(std::size_t n) {
        at_ += n;
        return true;
    }

    bool take_option_reply() {
        nbd::Greeting greeting{};
        if (!greeted_) {
            greeted_ = see(greeting);
            require(!greeted_ || (greeting.init == nbd::init_magic && greeting.option == nbd::option_magic));
            return greeted_ && drop(sizeof greeting);
        }
        nbd::OptionReplyHeader reply{};
        if (!see(reply) || unread() < sizeof reply + reply.length) {
            return false;
        }
        require(reply.magic == nbd::option_reply_magic && reply.length < 4096);
        require(reply.type < static_cast<std::uint32_t>(nbd::OptionReply::err_unsup));
        const bool acknowledged = reply.type == static_cast<std::uint32_t>(nbd::OptionReply::ack);
        if (acknowledged && reply.option == static_cast<std::uint32_t>(nbd::Option::go)) {
            handshake_ = false;
            structured_ = true;
        }
        return drop(sizeof reply + reply.length);
    }

    bool take_reply() {
        nbd::SimpleReply simple{};
        if (!see(simple)) {
            return false;
        }
        if (simple.magic == nbd::simple_reply_magic) {
            const Conversation::Asked& asked = asked_for(simple.cookie);
            const bool data = asked.command == nbd::Command::read && simple.error == 0;
            require(!data || !structured_ || asked.length == 0);
            return take(simple.cookie, sizeof simple, data ? asked.length : 0);
        }
        nbd::ChunkHeader chunk{};
        if (!see(chunk) || unread() < sizeof chunk + chunk.length) {
            return false;
        }
        require(structured_ && chunk.magic == nbd::structured_reply_magic && chunk.flags == nbd::reply_done);
        if (chunk.type == static_cast<std::uint16_t>(nbd::Chunk::offset_data)) {
            require(chunk.length == sizeof(base::Be64) + asked_for(chunk.cookie).length);
            return take(chunk.cookie, sizeof(nbd::OffsetDataChunk), asked_for(chunk.cookie).length);
        }
        return take(chunk.cookie, sizeof chunk + chunk.length, 0);
    }

    Conversation::Asked& asked_for(std::uint64_t cookie) {
        require(cookie < talk_.asked.size() && !talk_.asked[cookie].answered);
        return talk_.asked[cookie];
    }

    bool take(std::uint64_t cookie, std::size_t head_bytes, std::size_t data_bytes) {
        if (unread() < head_bytes + data_bytes) {
            return false;
        }
        if (data_bytes > 0) {
            require(!disk_.reads.empty() && disk_.reads.front().bytes == data_bytes);
            require(
                is_all(base::Bytes(heard_).subspan(at_ + head_bytes, data_bytes), disk_.reads.front().mark));
            disk_.reads.pop_front();
        }
        asked_for(cookie).answered = true;
        return drop(head_bytes + data_bytes);
    }

    Conversation& talk_;
    Disk& disk_;
    bool handshake_;
    bool greeted_ = false;
    bool structured_ = false;
    std::vector<std::byte> heard_;
    std::size_t at_ = 0; ///< of heard_, before which all was read
};

class Owner final : public NbdConnection::Owner {
    void on_ready() override {}
};

/// One send of any length. True when there was something to say.
bool send(NbdConnection& connection, std::minstd_rand& random, Client* client) {
    std::array<iovec, 8> slots{};
    std::size_t left = random() % 4 == 0 ? 1 + random() % 64 : SIZE_MAX;
    std::size_t sent = 0;
    for (const iovec& part : connection.tx_spans(slots)) {
        const std::size_t n = std::min(left, part.iov_len);
        if (client != nullptr) {
            client->hear({static_cast<const std::byte*>(part.iov_base), n});
        }
        left -= n;
        sent += n;
    }
    connection.tx_done(sent);
    return sent > 0;
}

/// One receive of any length. False when the server takes nothing now.
bool receive(NbdConnection& connection, std::minstd_rand& random, base::Bytes& stream,
             base::Result<void>& result) {
    base::RxSpans spans = connection.rx_spans();
    const std::size_t most = std::min(stream.size(), spans.direct.size() + spans.staging.size());
    if (most == 0) {
        return false;
    }
    const std::size_t n = random() % 2 == 0 ? most : 1 + random() % most;
    const std::size_t direct = std::min(n, spans.direct.size());
    std::copy_n(stream.begin(), direct, spans.direct.begin());
    std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(direct), n - direct, spans.staging.begin());
    stream = stream.subspan(n);
    result = connection.rx_done(n, {});
    return true;
}

/// Until nothing moves any more; `result` is the server's last word.
void play(NbdConnection& connection, Disk& disk, std::minstd_rand& random, base::Bytes stream, Client* client,
          base::Result<void>& result) {
    bool moved = true;
    while (moved && result) {
        moved = receive(connection, random, stream, result);
        if (result && (random() % 2 == 0 || !moved)) {
            moved = disk.let_go(random() % 4 + (moved ? 0 : 1)) || moved;
        }
        if (result && (random() % 2 == 0 || !moved)) {
            moved = send(connection, random, client) || moved;
        }
        if (!moved && result) {
            result = connection.at({});
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::unique_ptr<BufferPool> pool = std::move(*BufferPool::create(pool_bytes));
    Script script(data, size);
    const std::uint8_t flags = script.u8();
    std::minstd_rand random(script.u8());
    const bool any_bytes = flags % 4 == 0;
    const bool handshake = flags % 4 != 1;
    Conversation talk;
    if (any_bytes) {
        base::Bytes rest = base::bytes_of(script.rest());
        talk.stream.assign(rest.begin(), rest.end());
    } else if (handshake) {
        talk.put_handshake();
    }
    while (talk.readable && !script.empty()) {
        read_request(script, talk);
    }

    const NbdExportInfo info{"disk", "a disk", attributes_of(flags)};
    Disk disk(info.attributes, random, any_bytes);
    Owner owner;
    NbdConnection connection({info, *pool, disk, owner});
    if (handshake) {
        connection.open({});
    } else {
        connection.open_transmission();
    }
    Client client(talk, disk, handshake);
    base::Result<void> result;
    play(connection, disk, random, talk.stream, any_bytes ? nullptr : &client, result);
    if (!any_bytes) {
        require(result.has_value() == !talk.fatal);
        for (const Conversation::Asked& asked : talk.asked) {
            const bool last = &asked == &talk.asked.back();
            require(asked.answered || talk.fatal || (last && talk.cut_short));
        }
        require(talk.fatal || client.satisfied());
    }
    connection.abandon();
    disk.let_go(SIZE_MAX);
    require(connection.idle() && pool->claimed() == 0);
    return 0;
}
