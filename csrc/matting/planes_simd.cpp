#include "matting/planes_simd.h"

#include "base/lanes.h"
#include "trimap/numbers.h"
// Below them, whose unit it takes.
#include "base/byte_bits.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;
constexpr Index kWordBits = 64;
// Columns that every run is a multiple of.
constexpr Index kPiece = kLanes / 2;

DSNET_INLINE Index least(Index a, Index b) { return a < b ? a : b; }
DSNET_INLINE Index most(Index a, Index b) { return a > b ? a : b; }

PixelCounts count(const Image<const std::uint8_t>& trimap, std::ptrdiff_t words,
                  std::uint64_t* unknown) {
    PixelCounts counts;
    for (Index y = 0; y < trimap.rows; ++y) {
        const std::uint8_t* row = trimap.row(y);
        for (Index word = 0; word < words; ++word, row += kWordBits) {
            const std::uint8_t* pixels = row;
            std::uint8_t held[kWordBits];
            if (const Index left = trimap.cols - word * kWordBits; left < kWordBits) {
                // Of no kind.
                for (Index i = 0; i < kWordBits; ++i) held[i] = 1;
                for (Index i = 0; i < left; ++i) held[i] = row[i];
                pixels = held;
            }
            const std::uint64_t open = bits_where_equal(pixels, kUnknown);
            counts.unknown += __builtin_popcountll(open);
            counts.foreground += __builtin_popcountll(bits_where_equal(pixels, kForeground));
            counts.background += __builtin_popcountll(bits_where_equal(pixels, kBackground));
            *unknown++ = open;
        }
    }
    return counts;
}

void write_known(const Image<const std::uint8_t>& trimap, float open, const Image<float>& alpha) {
    for (Index y = 0; y < trimap.rows; ++y) {
        const std::uint8_t* marked = trimap.row(y);
        float* out = alpha.row(y);
        DSNET_INDEPENDENT
        for (Index x = 0; x < trimap.cols; ++x) {
            const float known = marked[x] == kForeground ? 1.0f : 0.0f;
            out[x] = marked[x] == kUnknown ? open : known;
        }
    }
}

// The columns of a run that lie in an image's row.
struct Columns {
    Index begin, end;

    DSNET_INLINE Columns(const Run& run, Index shift, Index cols)
        : begin(most(run.begin, -shift)), end(least(run.end, cols - shift)) {}

    DSNET_INLINE bool hold(Index from) const { return from >= begin && from + kPiece <= end; }
    DSNET_INLINE bool hold_one(Index x) const { return x >= begin && x < end; }
};

typedef float Piece __attribute__((vector_size(kPiece * sizeof(float))));
typedef std::int32_t WholePiece __attribute__((vector_size(kPiece * sizeof(std::int32_t))));
typedef std::uint8_t BytePiece __attribute__((vector_size(kPiece)));
typedef std::int8_t SignedPiece __attribute__((vector_size(kPiece)));

// Of a row of an image; 0 outside of it.
template <typename V, typename T>
DSNET_INLINE V piece_of(const T* row, Index from, const Columns& inside) {
    if (inside.hold(from)) return load_as<V>(row + from);
    T held[kPiece] = {};
    for (Index k = 0; k < kPiece; ++k)
        if (inside.hold_one(from + k)) held[k] = row[from + k];
    return load_as<V>(held);
}

// A value where the trimap is of a kind, else 0.
DSNET_INLINE Piece where(BytePiece marked, std::uint8_t kind, float value) {
    const WholePiece same = __builtin_convertvector(SignedPiece(marked == kind), WholePiece);
    return Piece(same & WholePiece(Piece{} + value));
}

template <typename Body>
DSNET_INLINE void each_piece(const Run& run, Body body) {
    for (Index from = run.begin; from < run.end; from += kPiece) body(from);
}

void fill_around(const Runs& around, const PlaneOrigin& origin, const Image<const float>& image,
                 const Image<const std::uint8_t>& trimap, float* grey, float* known) {
    for (const Run* run = around.first; run != around.first + around.count; ++run) {
        const Index y = run->row + origin.row;
        float* const grey_row = grey + run->row * origin.stride;
        float* const known_row = known + run->row * origin.stride;
        Columns inside(*run, origin.col, image.cols);
        const bool outside = y < 0 || y >= image.rows;
        if (outside) inside.end = inside.begin;
        const float* const from = image.row(outside ? 0 : y) + origin.col;
        const std::uint8_t* const marked = trimap.row(outside ? 0 : y) + origin.col;
        each_piece(*run, [&](Index x) {
            store(grey_row + x, piece_of<Piece>(from, x, inside));
            store(known_row + x, where(piece_of<BytePiece>(marked, x, inside), kForeground, 1.0f));
        });
    }
}

// How many of the windows around a coordinate lie inside the image.
DSNET_INLINE float windows_around(Index at, Index size) {
    return float(least(at + 1, size - 2) - most(at - 1, 1) + 1);
}

void fill_pixels(const Runs& pixels, const PlaneOrigin& origin,
                 const Image<const std::uint8_t>& trimap, const Image<const float>& prior,
                 float* count, float* toward) {
    for (const Run* run = pixels.first; run != pixels.first + pixels.count; ++run) {
        const Index y = run->row + origin.row;
        const std::uint8_t* const marked = trimap.row(y) + origin.col;
        float* const counts = count + run->row * origin.stride;
        float* const priors = toward + run->row * origin.stride;
        const float rows = windows_around(y, trimap.rows), inside = rows * 3.0f;
        const Columns columns(*run, origin.col, trimap.cols);
        each_piece(*run, [&](Index x) {
            store(counts + x, where(piece_of<BytePiece>(marked, x, columns), kUnknown, inside));
        });
        // The first and the last two columns of the image have fewer windows.
        for (const Index column : {Index{0}, Index{1}, trimap.cols - 2, trimap.cols - 1}) {
            const Index x = column - origin.col;
            if (x < columns.begin || x >= columns.end || marked[x] != kUnknown) continue;
            counts[x] = rows * windows_around(column, trimap.cols);
        }
        const float* const from = prior.data != nullptr ? prior.row(y) + origin.col : nullptr;
        each_piece(*run, [&](Index x) {
            store(priors + x, from != nullptr ? piece_of<Piece>(from, x, columns) : Piece{});
        });
    }
}

void write_solved(const Runs& pixels, const PlaneOrigin& origin, const double* x,
                  const float* count, double norm, const Image<float>& alpha) {
    typedef Lanes<double> Lane;
    for (const Run* run = pixels.first; run != pixels.first + pixels.count; ++run) {
        const double* const solved = x + run->row * origin.stride;
        const float* const counts = count + run->row * origin.stride;
        float* const out = alpha.row(run->row + origin.row) + origin.col;
        const Columns inside(*run, origin.col, alpha.cols);
        each_piece(*run, [&](Index from) {
            alignas(64) float held[kPiece];
            const bool whole = inside.hold(from);
            store(held, piece_of<Piece>(out, from, inside));
            for (Index k = 0; k < kPiece; k += Lane::kCount) {
                const HalfVector none{}, one = none + 1.0f;
                const HalfVector value = narrowed(Lane::at(solved + from + k) * norm);
                const HalfVector low = value > none ? value : none;
                const HalfVector kept = low < one ? low : one;
                const auto counted = load_as<HalfVector>(counts + from + k) > none;
                store((whole ? out + from : held) + k,
                      counted ? kept : load_as<HalfVector>(held + k));
            }
            for (Index k = 0; !whole && k < kPiece; ++k)
                if (inside.hold_one(from + k)) out[from + k] = held[k];
        });
    }
}

template <typename T>
DSNET_INLINE void clear(const Runs& runs, Index stride, T* plane) {
    typedef T Zeros __attribute__((vector_size(kPiece * sizeof(T))));
    for (const Run* run = runs.first; run != runs.first + runs.count; ++run)
        each_piece(*run, [&](Index x) { store(plane + run->row * stride + x, Zeros{}); });
}

void clear_float(const Runs& runs, std::ptrdiff_t stride, float* plane) {
    clear(runs, stride, plane);
}

void clear_double(const Runs& runs, std::ptrdiff_t stride, double* plane) {
    clear(runs, stride, plane);
}

}  // namespace

extern const PlanesSimd planes_simd;
const PlanesSimd planes_simd = {&count,        &write_known, &fill_around, &fill_pixels,
                                &write_solved, &clear_float, &clear_double};

}  // namespace dsnet::DSNET_UNIT
