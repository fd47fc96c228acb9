/* How chunks are stored: as one zstd frame, as one LZ4 block, or as they are. The libraries are not linked: their functions are handed
   over as addresses, so that both engines write the bytes of one library. */

enum { PLAIN, ZSTD, LZ4, LZ4HC }; /* blocks of the last two are read alike; fast ones are not written here */

/* The functions of libzstd and liblz4 that are used, in this order. Those of liblz4 are NULL if it hides them. */
typedef struct {
    void *(*create_decoder)(void);
    size_t (*free_decoder)(void *);
    size_t (*decode)(void *, void *, size_t, const void *, size_t);
    void *(*create_encoder)(void);
    size_t (*free_encoder)(void *);
    size_t (*set_parameter)(void *, int, int);
    size_t (*encode)(void *, void *, size_t, const void *, size_t);
    unsigned (*is_error)(size_t);
    unsigned long long (*content_size)(const void *, size_t);
    size_t (*frame_size)(const void *, size_t);
    int (*lz4_decode)(const void *, void *, int, int);
    int (*lz4hc_encode)(const void *, void *, int, int, int);
} Functions;

/* What one thread decodes and encodes with. `kind` and `level` are of what it writes; it reads all kinds. */
typedef struct {
    Functions call;
    int kind, level;
    void *decoder, *encoder;
} Codec;

static void close_codec(Codec *codec)
{
    if (codec->decoder)
        codec->call.free_decoder(codec->decoder);
    if (codec->encoder)
        codec->call.free_encoder(codec->encoder);
}

/* `parameters`: pairs of a parameter's number and its value; LZ4-HC has one, its level. 0: there is no memory, or a parameter is refused. */
static int open_codec(Codec *codec, const Functions *functions, int kind, const int32_t *parameters, int count)
{
    codec->call = *functions;
    codec->kind = kind;
    codec->level = count ? parameters[1] : 0;
    codec->decoder = functions->create_decoder();
    codec->encoder = functions->create_encoder();
    int is_whole = codec->decoder && codec->encoder;
    for (int i = 0; is_whole && kind == ZSTD && i < count; i++)
        is_whole = !functions->is_error(functions->set_parameter(codec->encoder, parameters[2 * i], parameters[2 * i + 1]));
    return is_whole;
}

/* True if chunks of `size` bytes can be read. */
static int can_decode(const Codec *codec, int kind, size_t size)
{
    switch (kind) {
    case PLAIN:
    case ZSTD: return 1;
    case LZ4:
    case LZ4HC: return codec->call.lz4_decode && size <= INT32_MAX;
    }
    return 0;
}

/* Decode a chunk of `size` bytes into `room`, and return where it is: there, or where it is stored, if voxels of `itemsize` bytes can be
   read from there. NULL: it is damaged, or it is a frame that does not say how long its content is, or more than one. */
static const uint8_t *decoded(const Codec *codec, int kind, const uint8_t *stored, size_t length, uint8_t *room, size_t size, int itemsize)
{
    const Functions *call = &codec->call;
    switch (kind) {
    case PLAIN:
        if (length != size)
            return NULL;
        if ((uintptr_t)stored % itemsize == 0)
            return stored;
        memcpy(room, stored, size);
        return room;
    case ZSTD:
        if (call->content_size(stored, length) != size || call->frame_size(stored, length) != length)
            return NULL;
        return call->decode(codec->decoder, room, size, stored, length) == size ? room : NULL;
    case LZ4:
    case LZ4HC:
        if (length > INT32_MAX)
            return NULL;
        return call->lz4_decode(stored, room, (int)length, (int)size) == (int)size ? room : NULL;
    }
    return NULL;
}

/* Encode a chunk at `out`. The number of its bytes; -1: it cannot be. */
static int64_t encoded(const Codec *codec, const uint8_t *chunk, size_t size, uint8_t *out, size_t room)
{
    const Functions *call = &codec->call;
    if (codec->kind == ZSTD) {
        const size_t length = call->encode(codec->encoder, out, room, chunk, size);
        return call->is_error(length) ? -1 : (int64_t)length;
    }
    if (codec->kind == PLAIN) {
        if (size > room)
            return -1;
        memcpy(out, chunk, size);
        return size;
    }
    if (codec->kind != LZ4HC || !call->lz4hc_encode || size > INT32_MAX)
        return -1;
    const int length = call->lz4hc_encode(chunk, out, (int)size, room > INT32_MAX ? INT32_MAX : (int)room, codec->level);
    return length > 0 ? length : -1;
}
