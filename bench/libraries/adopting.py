"""What using a library in the engine would take: a paragraph each, for the report.

What is said about clients was tried: a message with a final block, and one after it,
read by websockets 17.4 and by zlib of Node 20 in one context each.
"""

ADOPTING = {
    "zlib": (
        "What the engine uses. In every distribution, and the manylinux policy "
        "counts on it, so wheels need not bring it; licence zlib. It flushes, keeps "
        "contexts, inflates under a limit and honours windows of 9 to 15 bits. A "
        "raw window of 8 bits is refused (zlib's window of 256 bytes is faulty), so "
        "an offer of `server_max_window_bits=8` has to be declined. Memory is what "
        "the settings change: from 9 KiB to 390 KiB for a stream that deflates. "
        "Time for a short message is spent on its Huffman codes, which no setting "
        "avoids."
    ),
    "zlib-ng": (
        "The least change: the same calls with the prefix `zng_`, and a structure "
        "of its own. Not its compatible build, which has zlib's names and would "
        "meet the zlib that Python has loaded already. Debian 12 has no package, so "
        "every wheel would carry it, built by CMake and linked statically; licence "
        "zlib; x86, ARM, POWER, RISC-V and s390, plain C elsewhere. Flush, "
        "contexts, limits and windows are zlib's, 8 bits refused too. But its hash "
        "table has 64 Ki places whatever the memory level says: 128 KiB that each "
        "reset clears and that even a window of 512 bytes pays for. That suits a "
        "few shared streams and large messages, not a stream per connection. Its "
        "level 1 takes a tenth to a quarter of the time of zlib's level 6, for "
        "messages that are up to a half larger."
    ),
    "ISA-L": (
        "An interface of its own, so a second backend: structures that the caller "
        "allocates, four levels, a flush that ends in 00 00 ff ff, contexts, "
        "windows of 8 to 15 bits (`hist_bits`; they don't save memory). Licence "
        "BSD-3-Clause; assembler for x86-64 (which needs nasm) and AArch64, plain C "
        "elsewhere; wheels would build it from source. There is no dearer level: "
        "large messages stay a tenth behind zlib's level 6. Level 0 writes a fixed "
        "table of about a hundred bytes into every message, so it is for large "
        "ones. An inflating stream has 85 KiB, zlib's 39 KiB and less with a "
        "smaller window."
    ),
    "ISA-L stateless": (
        "The same library, one call for a whole message. What it stores because it "
        "does not shrink ends without a flush, so the byte 00 has to be put behind "
        "it."
    ),
    "libdeflate": (
        "No streams at all: one buffer in, one out, no flush, no context, no choice "
        "of window. A message has to end with a final block and the byte 00. RFC "
        "7692, 7.2.3.4 allows that and Chromium resets its reader there, but others "
        "stop: websockets and Node's zlib give the next message as an empty one, "
        "without an error, unless `server_no_context_takeover` was agreed. Clearing "
        "the final bit is no way out: the empty stored block has to begin at a bit "
        "that libdeflate does not tell. It always uses a window of 32 KiB, so who "
        "asked for less can only get messages shorter than theirs. Inflating needs "
        "the whole message in one piece, a final block put behind it, a buffer of "
        "the largest size that is allowed, and `client_no_context_takeover`. "
        "Licence MIT, plain C with CMake, easy to carry in wheels. It would serve "
        "stateless frames to those who agreed to no context, beside zlib for all "
        "else."
    ),
}
