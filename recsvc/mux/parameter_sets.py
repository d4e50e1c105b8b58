"""Parameter sets that came in band, as a file's header has them: avcC, hvcC, av1C.

After ISO/IEC 14496-15, H.264 and H.265 section 7.3, and the AV1 bitstream specification with its binding to ISO media
files.
"""

from __future__ import annotations

import struct

from . import bitstream as bits


def avcc(units: list[bytes]) -> bytes:
    """AVCDecoderConfigurationRecord of these parameter sets, for lengths of four bytes."""
    sets = [unit for unit in units if bits.h264_type(unit) == bits.H264_SPS]
    pictures = [unit for unit in units if bits.h264_type(unit) == bits.H264_PPS]
    sps = bits.without_emulation(sets[0])
    if len(sps) < 4 or len(sets) > 31 or len(pictures) > 255:
        raise ValueError("a parameter set is too short, or there are more than a record holds")
    record = bytes((1, sps[1], sps[2], sps[3], 0xFF, 0xE0 | len(sets))) + _listed(sets)
    record += bytes((len(pictures),)) + _listed(pictures)
    if sps[1] in (100, 110, 122, 144):
        reader = bits.Bits(sps[4:40])
        reader.exp_golomb()  # seq_parameter_set_id
        chroma, luma_depth, chroma_depth = _chroma(reader), reader.exp_golomb(), reader.exp_golomb()
        record += bytes((0xFC | chroma, 0xF8 | luma_depth, 0xF8 | chroma_depth, 0))
    return record


def hvcc(units: list[bytes]) -> bytes:
    """HEVCDecoderConfigurationRecord of these parameter sets, for lengths of four bytes."""
    kinds = bits.PARAMETER_SETS["h265"]
    by_kind = {kind: [unit for unit in units if bits.h265_type(unit) == kind] for kind in kinds}
    sps = bits.without_emulation(by_kind[bits.H265_SPS][0])
    reader = bits.Bits(sps[2:])
    reader.take(4)  # sps_video_parameter_set_id
    layers, nested = reader.take(3), reader.take(1)
    profile = reader.take(96).to_bytes(12, "big")  # general_profile_space up to general_level_idc
    present = [(reader.take(1), reader.take(1)) for _ in range(layers)]
    if layers:
        reader.take(2 * (8 - layers))  # reserved_zero_2bits
    for has_profile, has_level in present:
        reader.take(88 * has_profile + 8 * has_level)
    reader.exp_golomb()  # sps_seq_parameter_set_id
    chroma = _chroma(reader)
    for _ in ("width", "height"):
        reader.exp_golomb()
    if reader.take(1):  # conformance_window_flag: how much is cut off at each side
        for _ in range(4):
            reader.exp_golomb()
    luma_depth, chroma_depth = reader.exp_golomb(), reader.exp_golomb()
    # Spatial segmentation, parallelism and the frame rate are left open.
    record = b"\1" + profile + b"\xf0\0\xfc" + bytes((0xFC | chroma, 0xF8 | luma_depth, 0xF8 | chroma_depth, 0, 0))
    record += bytes((layers + 1 << 3 | nested << 2 | 3, len(by_kind)))
    for kind, found in by_kind.items():
        record += struct.pack(">BH", kind, len(found)) + _listed(found)
    return record


def _chroma(reader: bits.Bits) -> int:
    """chroma_format_idc, and what belongs to it, in both codecs."""
    chroma = reader.exp_golomb()
    if chroma == 3:
        reader.take(1)  # separate_colour_plane_flag
    return chroma


def sets_of(codec: str, record: bytes) -> tuple[int, list[bytes]]:
    """What an avcC or hvcC says: how many bytes a length has, and its parameter sets. ``ValueError``: it is none."""
    units, at = [], 6 if codec == "h264" else 23
    if len(record) < at or record[0] != 1:
        raise ValueError(f"no {'avcC' if codec == 'h264' else 'hvcC'}")
    lists = [record[5] & 31, None] if codec == "h264" else [None] * record[22]
    for count in lists:
        if codec == "h265":  # of which kind they are, then how many
            count, at = int.from_bytes(record[at + 1 : at + 3], "big"), at + 3
        elif count is None:
            count, at = record[at], at + 1
        for _ in range(count):
            begin = at + 2
            at = begin + int.from_bytes(record[at:begin], "big")
            if at > len(record):
                raise ValueError("a parameter set is longer than the record")
            units.append(record[begin:at])
    if at > len(record):
        raise ValueError("the record ends within a list of parameter sets")
    return (record[4 if codec == "h264" else 21] & 3) + 1, units


def _listed(units: list[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def av1c(sequence: bits.Obu) -> bytes:
    """AV1CodecConfigurationRecord with this sequence header."""
    reader = bits.Bits(sequence.content)
    profile, _, is_reduced = reader.take(3), reader.take(1), reader.take(1)
    level, tier = _av1_level(reader, is_reduced)
    for length in (reader.take(4) + 1, reader.take(4) + 1):
        reader.take(length)  # max_frame_width_minus_1, then the height
    if not is_reduced and reader.take(1):
        reader.take(7)  # the lengths of frame ids
    reader.take(3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if not is_reduced:
        _av1_tools(reader)
    reader.take(3)  # enable_superres, enable_cdef, enable_restoration
    flags = _av1_colours(reader, profile)
    # The OBU has its size here in any case.
    header = bytes((sequence.data[0] | 2,)) + sequence.data[1 : 2 if sequence.data[0] & 4 else 1]
    size = len(sequence.content)
    leb = bytearray()
    while True:
        leb.append(size & 127 | (128 if size > 127 else 0))
        size >>= 7
        if not size:
            break
    obu = header + bytes(leb) + sequence.content
    return bytes((0x81, profile << 5 | level, tier << 7 | flags, 0)) + obu


def _av1_level(reader: bits.Bits, is_reduced: int) -> tuple[int, int]:
    """Level and tier of the first operating point."""
    if is_reduced:
        return reader.take(5), 0
    has_model = delay_bits = 0
    if reader.take(1):  # timing_info_present_flag
        reader.take(64)
        if reader.take(1):
            reader.exp_golomb()  # num_ticks_per_picture_minus_1
        has_model = reader.take(1)
        if has_model:
            delay_bits = reader.take(5) + 1
            reader.take(42)  # the rest of decoder_model_info
    has_delay = reader.take(1)
    found = []
    for _ in range(reader.take(5) + 1):
        reader.take(12)  # operating_point_idc
        level = reader.take(5)
        found.append((level, reader.take(1) if level > 7 else 0))
        if has_model and reader.take(1):
            reader.take(2 * delay_bits + 1)  # operating_parameters_info
        if has_delay and reader.take(1):
            reader.take(4)  # initial_display_delay_minus_1
    return found[0]


def _av1_tools(reader: bits.Bits) -> None:
    """Passes over the tools that a sequence header may switch on."""
    reader.take(4)  # enable_interintra_compound, _masked_compound, _warped_motion, _dual_filter
    has_order = reader.take(1)
    if has_order:
        reader.take(2)  # enable_jnt_comp, enable_ref_frame_mvs
    has_screen_tools = bool(reader.take(1)) or bool(reader.take(1))  # by seq_choose_, else by seq_force_
    if has_screen_tools and not reader.take(1):
        reader.take(1)  # seq_force_integer_mv
    if has_order:
        reader.take(3)  # order_hint_bits_minus_1


def _av1_colours(reader: bits.Bits, profile: int) -> int:
    """The third byte of av1C without the tier: depth, subsampling."""
    is_high = reader.take(1)
    is_twelve = reader.take(1) if profile == 2 and is_high else 0
    is_mono = reader.take(1) if profile != 1 else 0
    primaries, transfer, matrix = (reader.take(8), reader.take(8), reader.take(8)) if reader.take(1) else (2, 2, 2)
    across = down = position = 0
    if is_mono:
        reader.take(1)  # color_range
        across = down = 1
    elif (primaries, transfer, matrix) != (1, 13, 0):  # else it is sRGB
        reader.take(1)  # color_range
        if profile == 0:
            across = down = 1
        elif profile == 2:
            across = reader.take(1) if is_twelve else 1
            down = reader.take(1) if is_twelve and across else 0
        if across and down:
            position = reader.take(2)
    return is_high << 6 | is_twelve << 5 | is_mono << 4 | across << 3 | down << 2 | position
