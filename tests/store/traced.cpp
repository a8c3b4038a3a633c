#include "traced.hpp"

#include <cerrno>
#include <csignal>
#include <elf.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace iscsi::test {
namespace {

using Kind = FileCall::Kind;
namespace fs = std::filesystem;

std::string text_at(pid_t child, std::uint64_t address) {
    std::string text(4096, '\0');
    // Not past the end of a page that may be the last one.
    std::size_t length = text.size() - address % text.size();
    std::string all;
    for (;;) {
        iovec here{text.data(), length};
        iovec there{reinterpret_cast<void*>(address), length}; // NOLINT(performance-no-int-to-ptr)
        ssize_t n = ::process_vm_readv(child, &here, 1, &there, 1, 0);
        if (n <= 0) {
            throw std::runtime_error("cannot read the memory of the traced child");
        }
        std::string_view part(text.data(), static_cast<std::size_t>(n));
        std::size_t end = part.find('\0');
        all += part.substr(0, end);
        if (end != std::string_view::npos) {
            return all;
        }
        address += static_cast<std::uint64_t>(n);
        length = text.size();
    }
}

std::string bytes_at(pid_t child, std::uint64_t address, std::uint64_t length) {
    std::string bytes(length, '\0');
    iovec here{bytes.data(), bytes.size()};
    iovec there{reinterpret_cast<void*>(address), bytes.size()}; // NOLINT(performance-no-int-to-ptr)
    if (::process_vm_readv(child, &here, 1, &there, 1, 0) != static_cast<ssize_t>(length)) {
        throw std::runtime_error("cannot read what the traced child writes");
    }
    return bytes;
}

std::string path_of_fd(pid_t child, int fd) {
    std::error_code error;
    fs::path link =
        fd == AT_FDCWD ? fmt::format("/proc/{}/cwd", child) : fmt::format("/proc/{}/fd/{}", child, fd);
    return fs::read_symlink(link, error).string();
}

struct Arguments {
    pid_t child;
    const __ptrace_syscall_info& info;

    std::uint64_t raw(int i) const { return info.entry.args[i]; }
    std::string text(int i) const { return text_at(child, raw(i)); }
    std::string fd(int i) const { return path_of_fd(child, static_cast<int>(raw(i))); }
    /// The path of a name relative to a directory's descriptor.
    std::string at(int directory, int name) const {
        std::string path = text(name);
        return path.starts_with('/') ? path : fd(directory) + "/" + path;
    }
};

/// The call at whose door the child stands; empty when it changes no file.
std::optional<FileCall> decode(const Arguments& arguments) {
    switch (arguments.info.entry.nr) {
    case SYS_openat:
        if ((arguments.raw(2) & O_CREAT) == 0) {
            return std::nullopt;
        }
        return FileCall{Kind::create, arguments.at(0, 1)};
    case SYS_write:
        return FileCall{Kind::write, arguments.fd(0),
                        bytes_at(arguments.child, arguments.raw(1), arguments.raw(2))};
    case SYS_fsync:
        return FileCall{Kind::sync, arguments.fd(0)};
    case SYS_flock:
        return FileCall{Kind::flock, arguments.fd(0)};
#ifdef SYS_renameat
    case SYS_renameat:
#endif
    case SYS_renameat2:
        return FileCall{Kind::rename, arguments.at(0, 1), arguments.at(2, 3)};
    case SYS_unlinkat:
        return FileCall{Kind::unlink, arguments.at(0, 1)};
    case SYS_mkdirat:
        return FileCall{Kind::mkdir, arguments.at(0, 1)};
#ifdef SYS_mkdir
    case SYS_mkdir:
        return FileCall{Kind::mkdir, arguments.text(0)};
#endif
    case SYS_symlinkat:
        return FileCall{Kind::symlink, arguments.at(1, 2), arguments.text(0)};
    case SYS_linkat:
        return FileCall{Kind::link, arguments.at(0, 1), arguments.at(2, 3)};
        // Ways to change files that nobody here uses; who begins to has to teach this function.
#ifdef SYS_open
    case SYS_open:
    case SYS_creat:
    case SYS_rename:
    case SYS_unlink:
    case SYS_rmdir:
    case SYS_symlink:
    case SYS_link:
#endif
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_ftruncate:
    case SYS_truncate:
    case SYS_fdatasync:
    case SYS_syncfs:
    case SYS_openat2:
        throw std::runtime_error(fmt::format("system call {} is not counted yet", arguments.info.entry.nr));
    default:
        return std::nullopt;
    }
}

user_regs_struct registers_of(pid_t child) {
    user_regs_struct registers{};
    iovec place{&registers, sizeof registers};
    if (::ptrace(PTRACE_GETREGSET, child, NT_PRSTATUS, &place) != 0) {
        throw std::runtime_error("cannot read the registers of the traced child");
    }
    return registers;
}

void set_registers(pid_t child, user_regs_struct registers) {
    iovec place{&registers, sizeof registers};
    if (::ptrace(PTRACE_SETREGSET, child, NT_PRSTATUS, &place) != 0) {
        throw std::runtime_error("cannot set the registers of the traced child");
    }
}

/// At the door of a call: it is not made.
void skip_call(pid_t child) {
#if defined(__x86_64__)
    user_regs_struct registers = registers_of(child);
    registers.orig_rax = ~0ULL;
    set_registers(child, registers);
#elif defined(__aarch64__)
    int number = -1;
    iovec place{&number, sizeof number};
    ::ptrace(PTRACE_SETREGSET, child, NT_ARM_SYSTEM_CALL, &place);
#else
#error "how a system call is skipped here has to be written"
#endif
}

/// Behind a call: what it gives.
void give_result(pid_t child, long result) {
    user_regs_struct registers = registers_of(child);
#if defined(__x86_64__)
    registers.rax = static_cast<unsigned long long>(result);
#elif defined(__aarch64__)
    registers.regs[0] = static_cast<unsigned long long>(result);
#endif
    set_registers(child, registers);
}

/// A forked child that waits to be traced; dead and reaped with its owner.
class Child {
public:
    explicit Child(const std::function<int()>& what) : pid_(::fork()) {
        if (pid_ == 0) {
            if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
                ::_exit(cannot_trace);
            }
            ::raise(SIGSTOP);
            ::_exit(what());
        }
        if (pid_ < 0) {
            throw std::runtime_error("cannot fork");
        }
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() { end(); }

    static constexpr int cannot_trace = 126;

    pid_t pid() const { return pid_; }
    /// Waits for the next stop or the end.
    int wait() {
        int status = 0;
        while (::waitpid(pid_, &status, 0) != pid_) {
            if (errno != EINTR) {
                throw std::runtime_error("lost the traced child");
            }
        }
        gone_ = WIFEXITED(status) || WIFSIGNALED(status);
        return status;
    }
    void resume(int signal) const { ::ptrace(PTRACE_SYSCALL, pid_, nullptr, signal); }
    void end() {
        if (!gone_) {
            ::kill(pid_, SIGKILL);
            while (!gone_) {
                wait();
            }
        }
    }

private:
    pid_t pid_;
    bool gone_ = false;
};

} // namespace

std::string describe(const FileCall& call) {
    constexpr const char* names[] = {"create", "write",   "sync", "rename", "unlink",
                                     "mkdir",  "symlink", "link", "flock"};
    const bool is_long = call.kind == FileCall::Kind::write;
    return fmt::format("{}{} {}{}{}", call.failed ? "refused: " : "",
                       names[static_cast<std::size_t>(call.kind)], call.path,
                       call.to.empty() || is_long ? "" : " -> ", is_long ? std::string() : call.to);
}

namespace {

bool needs_space(const FileCall& call) {
    return call.kind == Kind::create || call.kind == Kind::write || call.kind == Kind::mkdir ||
           call.kind == Kind::symlink || call.kind == Kind::link;
}

/// Whether the `number`th call fails.
bool fails(const Cut& cut, std::size_t number, const FileCall& call) {
    if (cut.at == 0 || number < cut.at) {
        return false;
    }
    return cut.how == Cut::How::no_space ? needs_space(call) && call.path.starts_with(cut.full)
                                         : number == cut.at || cut.how == Cut::How::fail_on;
}

} // namespace

Traced run_traced(const std::function<int()>& what, Cut cut) {
    constexpr int syscall_stop = SIGTRAP | 0x80;
    Traced traced;
    Child child(what);
    int status = child.wait();
    if (WIFEXITED(status)) {
        traced.forbidden = true;
        return traced;
    }
    ::ptrace(PTRACE_SETOPTIONS, child.pid(), nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    bool inside = false;  // of a call that counts
    bool skipped = false; // that call
    for (int signal = 0;;) {
        child.resume(signal);
        status = child.wait();
        if (WIFEXITED(status)) {
            traced.exit_code = WEXITSTATUS(status);
            return traced;
        }
        if (WIFSIGNALED(status)) {
            throw std::runtime_error(fmt::format("the traced child died of signal {}", WTERMSIG(status)));
        }
        signal = WSTOPSIG(status) == syscall_stop ? 0 : WSTOPSIG(status);
        __ptrace_syscall_info info{};
        if (signal != 0 || ::ptrace(PTRACE_GET_SYSCALL_INFO, child.pid(), sizeof info, &info) <= 0) {
            continue;
        }
        if (info.op == PTRACE_SYSCALL_INFO_EXIT && inside) {
            traced.calls.back().failed = skipped || info.exit.is_error != 0;
            if (skipped) {
                give_result(child.pid(), cut.how == Cut::How::no_space ? -ENOSPC : -EIO);
            }
        }
        std::optional<FileCall> call =
            info.op == PTRACE_SYSCALL_INFO_ENTRY ? decode({child.pid(), info}) : std::nullopt;
        inside = call.has_value();
        skipped = false;
        if (!call) {
            continue;
        }
        traced.calls.push_back(std::move(*call));
        if (traced.calls.size() == cut.at && cut.how == Cut::How::kill) {
            child.end();
            return traced;
        }
        skipped = fails(cut, traced.calls.size(), traced.calls.back());
        if (skipped) {
            skip_call(child.pid());
        }
    }
}

} // namespace iscsi::test
