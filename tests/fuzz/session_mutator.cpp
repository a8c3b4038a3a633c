// How the session's fuzzer makes one input of another: steps stay whole, and new ones are such that a session
// may live on.
#include "session_target.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed);
extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* one, std::size_t one_size,
                                                 const std::uint8_t* other, std::size_t other_size,
                                                 std::uint8_t* out, std::size_t max_size, unsigned seed);

namespace {

using iscsi::test::setup_bytes;
using iscsi::test::Step;
using Random = std::minstd_rand;

struct Input {
    std::array<std::uint8_t, setup_bytes> setup{};
    std::vector<Step> steps;

    Input(const std::uint8_t* data, std::size_t size) {
        std::memcpy(setup.data(), data, std::min(size, setup_bytes));
        steps.resize(size > setup_bytes ? (size - setup_bytes) / sizeof(Step) : 0);
        if (!steps.empty()) {
            std::memcpy(steps.data(), data + setup_bytes, steps.size() * sizeof(Step));
        }
    }
    std::size_t write(std::uint8_t* data, std::size_t max_size) const {
        std::size_t most = max_size > setup_bytes ? (max_size - setup_bytes) / sizeof(Step) : 0;
        std::size_t count = std::min(steps.size(), most);
        std::size_t head = std::min(setup_bytes, max_size);
        std::memcpy(data, setup.data(), head);
        if (count > 0) {
            std::memcpy(data + setup_bytes, steps.data(), count * sizeof(Step));
        }
        return head + count * sizeof(Step);
    }
};

Step fresh(Random& random) {
    constexpr std::array<std::uint16_t, 8> lengths{0, 1, 48, 512, 1000, 4096, 8192, 65535};
    Step step{};
    // Every other one is about data: most of what can go wrong is there.
    step.kind = static_cast<std::uint8_t>(random() % 2 == 0 ? random() % 4 : random() % Step::kinds);
    step.pick = static_cast<std::uint8_t>(random() % 8 == 0 ? random() : random() % 4);
    step.deviations = static_cast<std::uint8_t>(random() % 8 == 0 ? 1U << random() % 8 : 0U);
    step.by = static_cast<std::uint8_t>(random() % 4 == 0 ? random() : random() % 4);
    step.length =
        random() % 4 == 0 ? static_cast<std::uint16_t>(random()) : lengths[random() % lengths.size()];
    step.more = static_cast<std::uint16_t>(random() % 4 == 0 ? random() : random() % 8);
    step.value = random() % 2 == 0 ? static_cast<std::uint32_t>(random()) : random() % 4;
    return step;
}

void mutate_bytes(std::uint8_t* bytes, std::size_t n) {
    std::size_t left = LLVMFuzzerMutate(bytes, n, n);
    std::memset(bytes + left, 0, n - left);
}

void mutate(Input& input, Random& random) {
    std::vector<Step>& steps = input.steps;
    std::size_t at = steps.empty() ? 0 : random() % steps.size();
    auto place = steps.begin() + static_cast<std::ptrdiff_t>(at);
    unsigned how = static_cast<unsigned>(random() % 10);
    if (how == 0 || steps.empty()) {
        steps.insert(place, fresh(random));
    } else if (how < 3) {
        for (std::size_t n = 1 + random() % 6; n > 0; --n) {
            steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(random() % (steps.size() + 1)),
                         fresh(random));
        }
    } else if (how == 3) {
        steps.erase(place);
    } else if (how == 4) {
        steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(random() % (steps.size() + 1)),
                     Step(*place));
    } else if (how == 5) {
        std::swap(*place, steps[random() % steps.size()]);
    } else if (how == 6) {
        place->deviations = 0;
    } else if (how == 7) {
        mutate_bytes(input.setup.data(), setup_bytes);
    } else {
        mutate_bytes(reinterpret_cast<std::uint8_t*>(&*place), sizeof(Step));
    }
}

} // namespace

std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned seed) {
    Random random(seed);
    Input input(data, size);
    for (std::size_t n = 1 + random() % 3; n > 0; --n) {
        mutate(input, random);
    }
    return input.write(data, max_size);
}

/// The beginning of the one, the end of the other.
std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* one, std::size_t one_size,
                                      const std::uint8_t* other, std::size_t other_size, std::uint8_t* out,
                                      std::size_t max_size, unsigned seed) {
    Random random(seed);
    Input input(one, one_size);
    const Input end(other, other_size);
    input.steps.resize(random() % (input.steps.size() + 1));
    auto from = static_cast<std::ptrdiff_t>(random() % (end.steps.size() + 1));
    input.steps.insert(input.steps.end(), end.steps.begin() + from, end.steps.end());
    return input.write(out, max_size);
}
