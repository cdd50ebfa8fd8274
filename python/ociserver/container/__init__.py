"""What is different in the container image: its defaults, and the variables of distribution (`registry:2`, `:3`).

Only the image sets `OCISERVER_CONTAINER`. Elsewhere nothing of this has an effect. `ociserver health` needs it, so it
imports little: no library that checks configurations.
"""

from ociserver.container.image import DATA, PORT, any_address, configuration_file, is_container
from ociserver.container.translation import Translation, translated

__all__ = ["DATA", "PORT", "Translation", "any_address", "configuration_file", "is_container", "translated"]
