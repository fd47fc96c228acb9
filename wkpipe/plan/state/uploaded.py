"""Look up earlier uploads in the journals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wkpipe.server.upload.request import Uploaded, UploadRequest


def uploaded_already(request: UploadRequest) -> Uploaded | None:
    """Return the upload of the dataset as it is now; None if it was not uploaded, or has changed since.

    Raises:
        InputRefused: the dataset has a file that cannot be uploaded.
        IntegrityError: its files are not those in the ledger.
    """
    if request.again:
        return None
    from wkpipe.server.upload.uploading import uploaded_before  # slow to import, and needed by uploads only

    return uploaded_before(request)
