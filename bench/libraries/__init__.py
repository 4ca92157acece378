"""Which deflate library, and which settings of zlib, suit permessage-deflate?

    bench/libraries/install.sh
    python -m bench.libraries --output results.json --markdown

Messages of four sizes are compressed on their own and in a growing context, and
decompressed, by zlib, zlib-ng, ISA-L and libdeflate, called from one C program
(harness.c). A second table has zlib alone with every window, memory level and four
levels: from it come the engine's defaults. What a library makes is decompressed by
Python's zlib and compared.
"""
