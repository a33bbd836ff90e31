"""What can go wrong for a user, in words that name the thing, its value and the remedy."""


class FxstyleError(Exception):
    """Base of every error a user can cause or cure. The command line prints it and exits with 1."""


class AudioError(FxstyleError):
    """A recording that cannot be read, measured or written."""


class SettingError(FxstyleError):
    """A setting, lock, bound or chain that is unknown or out of range."""


class PresetError(FxstyleError):
    """A preset file that is damaged, hostile, or from an unknown version."""


class MatchError(FxstyleError):
    """Input and reference from which no match can be made."""
