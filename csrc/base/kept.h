// Memory that is kept from call to call, unless the image was a large one.
#pragma once

#include <cstddef>

namespace dsnet {

// Pixels of an image up to which its workspace is kept: matting's has about 180 bytes a pixel.
constexpr std::ptrdiff_t kMostKeptPixels = 1 << 18;

// Lends a workspace, and empties it at the end of a call with a large image.
template <typename Workspace>
class Lent {
  public:
    Lent(Workspace& workspace, std::ptrdiff_t pixels) : workspace_(workspace), pixels_(pixels) {}
    ~Lent() {
        if (pixels_ > kMostKeptPixels) workspace_ = Workspace();
    }
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;
    Workspace& operator*() const { return workspace_; }
    Workspace* operator->() const { return &workspace_; }

  private:
    Workspace& workspace_;
    std::ptrdiff_t pixels_;
};

}  // namespace dsnet
