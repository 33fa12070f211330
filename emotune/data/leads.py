"""Names of ECG leads as devices and databases write them."""

import re

WORD_BREAK = r"[ _.:\-]"
"""A character between two words of a channel's name."""

OTHER_QUANTITIES = re.compile(
    r"HR|HRV|RR|IBI|NN|BPM|RATE|HEARTRATE|QUALITY|SQI|EDR|RESP\w*|RSP|STATUS|LEADOFF|LOFF|FLAGS?|EVENTS?|MARKERS?"
    r"|TRIG(GER)?S?|STIM|LABELS?|ANNOTATIONS?|R?PEAKS?|QRS|BEATS?|TEMP\w*|IMP|IMPEDANCE|TIME\w*|INDEX|COUNTER|COUNT"
    r"|SAMPLE|BATT\w*|SYNC|ACC|ACCEL\w*|GYRO\w*|MAGN?|MAGNET\w*|PPG|PLETH|BVP|EDA|GSR|SCR|EMG|EOG|SPO2|SAO2|ABP|PULSE"
    r"|ANALOG|DIGITAL|OTHER|PRESSURE|LATITUDE|LONGITUDE|SPEED|STEPS"
)
"""Words (capital letters) that say that a channel is no raw ECG or EEG, even beside ``ECG``: ``ECG HR``."""

LIMB = r"D?(?P<roman>III|II|I)"
MODIFIED_LIMB = r"ML(?P<modified>III|II|I|3|2|1)"
OTHER_LEADS = (
    r"-?AV[RLF]|V[1-9]?R?|V[XYZ]|M?V[1-9]|MCL?[1-6]|C[MCBSR][1-6]|(LL|LA|RA)-(RA|LA|LL)|V[X1-6]-RL|EASI ?(AS|AI|ES)"
)
"""aVR, precordial and right precordial, Frank, Mason-Likar, bipolar chest (MCL1, CM5, CC5), and pairs of limbs."""

PREFIX = rf"(?:(?:CH|CHAN|CHANNEL|ECG|EKG|LEAD|DERIVATION){WORD_BREAK}*[0-9]*{WORD_BREAK}+|ECG|EKG|LEAD)*"
NUMBERED = rf"LEAD{WORD_BREAK}*(?P<number>[123])"
LEAD = re.compile(rf"{PREFIX}(?P<lead>{NUMBERED}|{LIMB}|{MODIFIED_LIMB}|{OTHER_LEADS})")
LEAD_NAMES = re.compile(rf"{re.sub('[?]P<[a-z]+>', '?:', LEAD.pattern)}|(.*[^A-Z])?(ECG|EKG).*")
"""Names (capital letters, without unit) of channels that hold ECG, unless `is_other_quantity`."""

ROMAN = {"1": "I", "2": "II", "3": "III"}


def lead_name(name: str) -> str:
    """Return the usual name of a lead: ``LEAD II``, ``DII``, ``ECG_II`` and ``LEAD 2`` all become ``II``.

    Args:
        name: A name in capital letters, without unit.
    """
    match = LEAD.fullmatch(name)
    if match is None:
        return re.sub("EKG", "ECG", name)
    if match["roman"]:
        return match["roman"]
    if match["number"]:
        return ROMAN[match["number"]]
    if match["modified"]:
        return "ML" + ROMAN.get(match["modified"], match["modified"])
    return match["lead"]


def is_other_quantity(name: str) -> bool:
    """Return whether a name says that a channel is no raw ECG or EEG: ``Accel X``, ``ECG HR``, ``Marker``."""
    whole = re.sub("ECG|EKG|EEG", " ", name.upper())
    camel = re.sub("(?<=[a-z])(?=[A-Z])", " ", name).upper()
    words = {word for text in (whole, camel) for word in re.split("[^A-Z]+", text) if word}
    return any(OTHER_QUANTITIES.fullmatch(word) for word in words)
