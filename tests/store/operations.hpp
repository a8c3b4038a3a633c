// Every way in which the record database changes, each with the database that it begins with. Values; one
// thread.
#pragma once

#include "records/store.hpp"

#include <functional>
#include <string>
#include <vector>

namespace iscsi::test {

struct Operation {
    std::string name;
    /// One record: what a crash leaves, once the next writer was there, is all of the old tree or all of the
    /// new one. Otherwise each of its records is old or new.
    bool one_record = true;
    std::function<void(const records::Store&)> prepare;
    std::function<base::Result<void>(const records::Store&)> run;
};

std::vector<Operation> operations();

/// Is in every database and touched by no operation.
records::NodeId bystander();

} // namespace iscsi::test
