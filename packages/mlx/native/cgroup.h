#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

// The limits that control groups set for this process; infinity means no limit. They size the thread pool and the
// allocator before any JavaScript runs. packages/mflux-depth/src/memory/control-group.ts reads the same files in
// processes without MLX, together with the memory left under each limit; both follow the same rule.
namespace runtime {

namespace cgroup {

// Reads the number at the start of a line; infinity for "max", -1 or a missing file.
inline double amount(const std::string& text) {
  char* end;
  const double value = std::strtod(text.c_str(), &end);
  return end == text.c_str() || value <= 0 ? INFINITY : value;
}

inline std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Finds the smallest limit between the group of the process and the root. `v2` reads the folder of a group in the
// hierarchy of version 2, `v1` in that of the version 1 controller.
template <typename V2, typename V1>
double smallest(const std::string& controller, V2 v2, V1 v1) {
  double least = INFINITY;
  std::ifstream file("/proc/self/cgroup");
  // Lines read "0::/path" in version 2 and "4:cpu,cpuacct:/path" in version 1.
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first, second - first) + ',';
    std::string group = line.substr(second + 1);
    if (group == "/") group.clear();
    const bool unified = controllers == ":,";
    if (!unified && (',' + controllers.substr(1)).find(',' + controller + ',') == std::string::npos) continue;
    for (;;) {
      least = std::min(least, unified ? v2("/sys/fs/cgroup" + group) : v1("/sys/fs/cgroup/" + controller + group));
      const auto slash = group.find_last_of('/');
      if (slash == std::string::npos) break;
      group.resize(slash);
    }
  }
  return least;
}

}  // namespace cgroup

inline double cgroup_processors() {
  return cgroup::smallest(
      "cpu",
      [](const std::string& folder) {
        const std::string line = cgroup::first_line(folder + "/cpu.max");
        const auto space = line.find(' ');
        return space == std::string::npos ? INFINITY : cgroup::amount(line) / cgroup::amount(line.substr(space));
      },
      [](const std::string& folder) {
        return cgroup::amount(cgroup::first_line(folder + "/cpu.cfs_quota_us")) /
            cgroup::amount(cgroup::first_line(folder + "/cpu.cfs_period_us"));
      });
}

inline double cgroup_memory() {
  return cgroup::smallest(
      "memory",
      [](const std::string& folder) { return cgroup::amount(cgroup::first_line(folder + "/memory.max")); },
      [](const std::string& folder) { return cgroup::amount(cgroup::first_line(folder + "/memory.limit_in_bytes")); });
}

}  // namespace runtime
