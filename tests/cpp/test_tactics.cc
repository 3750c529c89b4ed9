// The file of tactics: what it keeps, for whom, and what a damaged one does.
#undef NDEBUG
#include <unistd.h>

#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "ops/cuda/tactics.cc"  // of the CUDA half, which this program is built without; this file needs no CUDA

using namespace ingot;

namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("ingot-tactics-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  std::string file(const char *name) const { return path / name; }
};

TacticKey key(int32_t F, int32_t T) { return {F, 4096, 17, 17, 16, 0, 1, 1, 1, 0, T}; }

// Every number of tokens has the next power of two, and the last one serves all more.
void test_buckets() {
  for (const auto &[T, bucket] : {std::pair{1, 1}, {2, 2}, {3, 4}, {8, 8}, {9, 16}, {8192, 8192}, {100000, 8192}}) {
    assert(tactic_bucket(T) == bucket);
  }
}

// What one process wrote another one of the same machine reads, and only that machine's.
void test_reads_what_was_written() {
  const Folder folder;
  const std::string path = folder.file("deep/er/tactics.txt");
  Tactics first("H200 driver 13000 cublaslt 130100");
  assert(first.find(key(4096, 8)) == Tactics::none);
  first.set(key(4096, 8), 40, 8.5);
  first.set(key(4096, 64), 103, 13.25);
  assert(first.write(path));

  Tactics same("H200 driver 13000 cublaslt 130100"), other("H100 driver 13000 cublaslt 130100");
  same.read(path), other.read(path);
  assert(same.find(key(4096, 8)) == 40 && same.find(key(4096, 64)) == 103);
  assert(same.find(key(4096, 16)) == Tactics::none && same.find(key(12288, 8)) == Tactics::none);
  assert(other.find(key(4096, 8)) == Tactics::none);
}

// Writers of one file lose nothing of each other; what one has timed itself stays.
void test_writers_add() {
  const Folder folder;
  const std::string path = folder.file("tactics.txt");
  Tactics first("machine"), second("machine"), third("machine");
  first.set(key(1, 1), 1, 1);
  first.set(key(2, 1), 1, 1);
  second.set(key(2, 1), 2, 1);
  second.set(key(3, 1), 2, 1);
  assert(first.write(path) && second.write(path));
  third.read(path);
  assert(third.find(key(1, 1)) == 1 && third.find(key(2, 1)) == 2 && third.find(key(3, 1)) == 2);
  assert(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);  // nothing unfinished
}

// A line that is cut or is no tactic is passed over, the others hold; a file of another kind says nothing.
void test_damaged_files() {
  const Folder folder;
  const std::string path = folder.file("tactics.txt");
  Tactics writer("machine");
  writer.set(key(1, 1), 50, 3);
  assert(writer.write(path));
  std::ofstream(path, std::ios::app) << "what is this\n2 4096 17 17 16 0 1 1 1 0 1 -7 3\n3 4096 17 17 16 0 1 1 1 0 1 1";
  Tactics reader("machine");
  reader.read(path);
  assert(reader.find(key(1, 1)) == 50);
  assert(reader.find(key(2, 1)) == Tactics::none && reader.find(key(3, 1)) == Tactics::none);

  std::ofstream(path) << "ingot-tactics 2\nmachine\n1 4096 17 17 16 0 1 1 1 0 1 50 3\n";
  Tactics later("machine");
  later.read(path);
  later.read(folder.file("none"));
  assert(later.find(key(1, 1)) == Tactics::none);
}

// Where nothing can be written it says so.
void test_unwritable() {
  const Folder folder;
  std::ofstream(folder.file("file")) << "no folder";
  Tactics tactics("machine");
  assert(!tactics.write(folder.file("file/tactics.txt")) && !tactics.write(""));
}

// The user's cache: XDG Base Directory Specification; relative paths are ignored as it says.
void test_user_path() {
  const Tactics tactics("NVIDIA H200 driver 13000");
  setenv("HOME", "/home/someone", 1);
  setenv("XDG_CACHE_HOME", "/cache", 1);
  assert(tactics.user_path() == "/cache/ingot/tactics-NVIDIA-H200-driver-13000.txt");
  setenv("XDG_CACHE_HOME", "relative", 1);
  assert(tactics.user_path() == "/home/someone/.cache/ingot/tactics-NVIDIA-H200-driver-13000.txt");
  unsetenv("HOME");
  assert(tactics.user_path().empty());
}

}  // namespace

int main() {
  test_buckets();
  test_reads_what_was_written();
  test_writers_add();
  test_damaged_files();
  test_unwritable();
  test_user_path();
  printf("ok\n");
}
