"""What a picture file holds beside pixels: EXIF, XMP, IPTC, comments, previews."""
