// From C++: handles that free themselves, errors as exceptions, and eight threads that share a model.
// threads BUNDLE SAMPLES SCRATCH
#include <glow.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Free {
    void operator()(GlowModel *model) const { glow_free(model); }
    void operator()(GlowError *error) const { glow_error_free(error); }
};

// Runs a call that takes GlowError ** last, and throws what it reports.
template <typename Call> void check(Call call) {
    GlowError *error = nullptr;
    const GlowStatus status = call(&error);
    const std::unique_ptr<GlowError, Free> owned(error);
    if (status != GLOW_OK) throw std::runtime_error(glow_error_message(error));
}

class Model {
  public:
    explicit Model(const std::string &folder) {
        GlowModel *model = nullptr;
        check([&](GlowError **error) { return glow_load(folder.c_str(), nullptr, &model, error); });
        model_.reset(model);
        check([&](GlowError **error) { return glow_shape(model, &shape_, error); });
    }

    std::vector<unsigned char> sample(std::size_t n, std::uint64_t seed, std::uint64_t first = 0) const {
        GlowSampleOptions options = glow_sample_options();
        options.seed = seed;
        options.first = first;
        std::vector<unsigned char> images(n * shape_.dims);
        check([&](GlowError **error) {
            return glow_sample(model_.get(), n, &options, images.data(), images.size(), error);
        });
        return images;
    }

    std::size_t dims() const { return shape_.dims; }

  private:
    std::unique_ptr<GlowModel, Free> model_;
    GlowShape shape_{};
};

} // namespace

int main(int count, char **words) try {
    if (count != 4) return 2;
    const Model model(words[1]);
    const std::vector<unsigned char> images = model.sample(6, 1);
    // One byte a thread: std::vector<bool> shares them.
    std::vector<char> equal(8);
    std::vector<std::thread> threads;
    for (std::size_t thread = 0; thread < equal.size(); thread++) {
        threads.emplace_back([&, thread] {
            equal[thread] = true;
            for (std::size_t i = 0; i < 6; i++) {
                const auto one = model.sample(1, 1, i);
                const auto begin = images.begin() + static_cast<std::ptrdiff_t>(i * model.dims());
                if (!std::equal(one.begin(), one.end(), begin)) equal[thread] = false;
            }
        });
    }
    for (std::thread &thread : threads) thread.join();
    for (const char same : equal)
        if (!same) throw std::runtime_error("a thread drew other images");
    std::string message;
    try {
        const Model none("/nowhere");
    } catch (const std::runtime_error &error) {
        message = error.what();
    }
    if (message.find("/nowhere") == std::string::npos) throw std::runtime_error("no error: " + message);
    std::ofstream(words[2], std::ios::binary)
        .write(reinterpret_cast<const char *>(images.data()), static_cast<std::streamsize>(images.size()));
    std::puts("all as it should be");
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
